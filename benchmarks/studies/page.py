"""docs/studies.md and its pictures from the records. No figure in them is typed by hand."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.studies.boxes import boxes
from benchmarks.studies.device import ENGINES
from benchmarks.studies.methods import METHODS, RAW, TITLES
from benchmarks.studies.record import OURS, Record, ahead, forgotten, people, recorded
from benchmarks.studies.study import load
from regrow.cli.command import human_bytes
from regrow.files import atomic_write
from regrow_trainer.compare import Difference

PAGE = "studies.md"
# What is compared by how it learns, and what by how our own network is stored.
LEARNERS = (OURS, "plain", "scratch", "means-ours", "means-plain", RAW)
FORMS = (OURS, "ours-int8", "pruned", "pruned-int8", "narrow", "narrow-int8")

_HEAD = """# Studies: what adapting is for

People and sensors that no training has seen, each study by one command from the data to the device:

    python -m benchmarks.studies NAME     # train, choose on validation users; commit the choice, then test
    python -m benchmarks.studies --page   # this page

- **Who is asked.** Users of the test part are never trained on, and no network or setting was chosen by them:
  recipes were settled and steps, rates and adaptable sets searched on validation users. The choice is a
  committed file (`benchmarks/studies/protocols`), named below by its commit; the run refuses to test before
  that. Where somebody looked all the same, the study says so.
- **What answers.** Test accuracies come from the exported bundle, run by `regrow.open(...).session()` without
  torch. Every method sees the same episodes. *Before* it has adapted, a bundle normalises by the statistics
  of one validation user's samples, afterwards by those of the support set; class means without a network are
  then those of the training users.
- **Intervals** are 95 %, the wider one of a paired bootstrap over people and of Student's t: they are few. In
  brackets: may be chance. Every network was trained once, which no interval covers.
- *Plainly trained* is the same network trained on all users at once, then fine-tuned on the device; its rule,
  rate, adaptable set and steps are the best of a grid. *Trained on the support alone* begins with random
  weights and has a grid too. *Class means* gives a query the class whose mean feature is nearest.
"""


def write(results: Path, docs: Path, *, check: bool = False) -> int:
    """Make the page of all records there are; with `check`, change nothing and return 1 where it is stale."""
    records = recorded(results)
    files = {PAGE: page(records)}
    for name, record in records.items():
        files |= {f"study-{name}.svg": learners(record), f"study-{name}-forms.svg": forms(record)}
    stale = [
        n for n, made in files.items() if not (docs / n).exists() or (docs / n).read_text("utf-8") != made
    ]
    if check:
        for name in stale:
            print(f"docs/{name}: differs from benchmarks/results/studies; run --page", file=sys.stderr)
        return int(bool(stale))
    for name in stale:
        atomic_write(docs / name, files[name].encode())
    return 0


def page(records: Mapping[str, Record]) -> str:
    """All of it as Markdown."""
    return "\n".join([_HEAD, *(_study(record) for record in records.values())])


def learners(record: Record) -> str:
    """How accurate each way to learn is, per user, before and after."""
    shots = record["study"]["main_shots"]
    rows = [(TITLES[m], _series(record, m, shots)) for m in LEARNERS if m in record["methods"]]
    return boxes(rows, f"{record['study']['title']}: accuracy per {record['study']['unit']}", _below(record))


def forms(record: Record) -> str:
    """The same of our network, dense and pruned, in fp32 and int8."""
    shots = record["study"]["main_shots"]
    rows = [(TITLES[m], _series(record, m, shots)) for m in FORMS if m in record["methods"]]
    return boxes(rows, f"{record['study']['title']}: dense, pruned and int8", _below(record))


def mean_after(record: Record, method: str, shots: int) -> float:
    """Over users."""
    return float(np.mean([u["after"][str(shots)] for u in record["methods"][method]["users"].values()]))


def mean_before(record: Record, method: str) -> float | None:
    """Over users; None where a method says nothing before it has learned."""
    values = [u["before"] for u in record["methods"][method]["users"].values()]
    return None if None in values else float(np.mean(values))


def _series(record: Record, method: str, shots: int) -> dict[str, list[float]]:
    users = record["methods"][method]["users"].values()
    after = {f"after {shots} shots": [u["after"][str(shots)] for u in users]}
    if any(u["before"] is None for u in users):
        return {"before": [], **after}
    return {"before": [u["before"] for u in users], **after}


def _below(record: Record) -> str:
    unit = record["study"]["unit"]
    return f"accuracy, %; a dot per {unit}, {len(record['users'])} of them, none seen in training"


def _held_out(record: Record) -> str:
    """How many are asked, and whose they are where somebody has several."""
    made = f"{len(record['users'])} held-out users"
    return f"{made}, which are {len(people(record))} people's" if record["study"]["of_people"] else made


def _study(record: Record) -> str:
    study, shots = record["study"], [str(s) for s in record["study"]["shots"]]
    machine, name = record["machine"], record["study"]["name"]
    return "\n".join(
        [
            f"## {study['title']}\n",
            f"{study['question']}\n",
            f"**{verdict(record)}**\n",
            f"- Split: {study['split']}.\n- Support: {study['shots'][0]} to {study['shots'][-1]} samples of "
            f"each of {record['ways']} classes; queries: {study['query']}.\n- {study['protocol']}\n"
            f"- Class means without a network use: {study['features_are']}.\n",
            f"![accuracy per {study['unit']}](study-{name}.svg)\n",
            f"Accuracy, %, the mean over {_held_out(record)}, by samples per class:\n",
            _accuracy(record, LEARNERS, shots),
            "Points that ours, dense in fp32, is ahead on the same episodes:\n",
            _ahead(record, [m for m in (*LEARNERS, *FORMS[1:]) if m != OURS], shots),
            f"![dense, pruned, int8](study-{name}-forms.svg)\n",
            _accuracy(record, FORMS, shots),
            f"On a device, {record['device'][OURS]['support']} support samples:\n",
            _device(record),
            *_untimed(record),
            f"What adapting to one user {'gives' if study['fresh'] else 'costs'} the others: accuracy on "
            "samples of all other held-out users, "
            f"before and after adapting to one ({study['main_shots']} shots). A session that is "
            "reset, or another user's delta, is not touched by it:\n",
            _forgetting(record),
            _choice(record),
            f"`python -m benchmarks.studies {name}`; protocol {record['protocol'][:12]}, seed "
            f"{record['seed']}, trained in {sum(record['seconds'].values()) / 60:.0f} min (wall, a shared "
            f"machine); {machine['cpu']}, {machine['cores']} cores, load {machine['load']}, commit "
            f"{machine['commit']}, {machine['date'][:10]}. Both engines answer "
            f"{record['engines_agree']:.1%} of the queries to the meta-trained bundle alike.\n",
        ]
    )


def verdict(record: Record) -> str:
    """The answer in a sentence that follows the figures."""
    study = record["study"]
    shots, unit = study["main_shots"], study["unit"]
    after = mean_after(record, OURS, shots)
    before = max((value, m) for m in LEARNERS if (value := mean_before(record, m)) is not None)
    best = max((mean_after(record, m, shots), m) for m in LEARNERS if m != OURS)
    gap = ahead(record, best[1], shots)
    real = "a real difference" if gap.real else "which may be chance"
    low = min(u["after"][str(shots)] for u in record["methods"][OURS]["users"].values())
    known = TITLES[before[1]].partition(",")[0]  # what it does with samples of the user it has not done yet
    came = f" a new {unit} goes from {before[0]:.1%} (the best without any of its samples, {known})"
    if study["fresh"]:
        came = f", none of which the network had met, a new {unit} comes"
    return (
        f"With {shots} samples of each class{came} to {after:.1%}, the worst {unit} to {low:.1%}. The best "
        f"rival, {TITLES[best[1]]}, reaches {best[0]:.1%}: {100 * gap.mean:+.1f} points for ours, {real}."
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _accuracy(record: Record, methods: Sequence[str], shots: Sequence[str]) -> str:
    lines = [
        [
            TITLES[m],
            _percent(mean_before(record, m)),
            *(_percent(mean_after(record, m, int(s))) for s in shots),
        ]
        for m in methods
    ]
    return _markdown(["", "before", *shots], lines)


def _points(gap: Difference) -> str:
    shown = f"{100 * gap.mean:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"
    return shown if gap.real else f"({shown})"


def _ahead(record: Record, methods: Sequence[str], shots: Sequence[str]) -> str:
    lines = [[TITLES[m], *(_points(ahead(record, m, int(s))) for s in shots)] for m in methods]
    return _markdown(["against", *shots], lines)


def _device(record: Record) -> str:
    lines = []
    for name in METHODS:
        costs = record["device"][name]
        row = [
            TITLES[name],
            human_bytes(record["methods"][name]["bytes"]),
            str(record["methods"][name]["steps"]),
        ]
        for engine in ENGINES:
            found = costs["engines"].get(engine)
            row += (
                [
                    f"{found['adapt_ms']:.2f} ms",
                    f"{found['predict_1_ms']:.2f} ms",
                    human_bytes(found["peak_bytes"]),
                ]
                if found
                else ["not timed", "", ""]
            )
        lines.append([*row, human_bytes(costs["planned_bytes"])])
    told = [f"{name}: {what}" for name in ENGINES for what in ("adapt", "predict one", "process")]
    head = ["", "bundle", "steps", *told, "planned arena"]
    note = (
        f"Medians of processes that take turns, under a load of {record['device'][OURS]['load']:g}: read "
        "ratios alone, and small ones as noise. `process` is the peak of a whole Python process, the arena "
        "what the C core needs besides the weights. A bundle brings what its rule keeps of every weight: "
        "under Adam it is up to three times as large.\n"
    )
    return _markdown(head, lines) + "\n" + note


def _untimed(record: Record) -> list[str]:
    """What the bench refused to time, in its words."""
    said = [
        f"Not timed: {TITLES[name]}: {why.removeprefix('bench: ').removesuffix('; not timed')}."
        for name, costs in record["device"].items()
        for why in costs["refused"].values()
    ]
    grows = (
        " Engines round differently, and Adam divides even the smallest gradient by its own size: over many "
        "steps from random weights the difference grows.\n"
    )
    return [" ".join(said) + grows] if said else []


def _forgetting(record: Record) -> str:
    lines = []
    for name in METHODS:
        lost = forgotten(record, name)
        if lost is None:
            continue
        users = record["methods"][name]["users"].values()
        before, after = (np.mean([u[k] for u in users]) for k in ("others_before", "others"))
        lines.append([TITLES[name], _percent(float(before)), _percent(float(after)), _points(lost)])
    return _markdown(["", "before", "after", "points"], lines)


def _choice(record: Record) -> str:
    said = []
    for net, row in record["chosen"].items():
        c = row["candidate"]
        rule = f"{c['rule']} at {c['lr']:g} on `{c['adaptable']}`, " if c else ""
        said.append(f"{net}: {rule}{row['steps']} steps ({_percent(row['accuracy'])} %)")
    of = record["study"]["of"]
    whose = f", all as in [{of}](#{load(of).title.lower().replace(' ', '-')})" if of else ""
    return f"Chosen on validation users{whose}: {'; '.join(said)}.\n"


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---", *["--:"] * (len(head) - 1)], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
