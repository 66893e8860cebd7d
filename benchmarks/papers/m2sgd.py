"""M2SGD's tables: learned optimisers train a network from random weights; with controls left out there.

A seed here is an optimiser of its own, drawn and trained anew, and the learners that it trains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np

from benchmarks.papers import learners
from benchmarks.papers.learners import Optimiser, Outcome, Setting
from benchmarks.papers.table import Cell, Claim, Job, Measured, Preset, Published, Table
from benchmarks.papers.work import Work
from regrow.evaluate import Evaluation
from regrow.files import atomic_write
from regrow_trainer.device import pick, put
from regrow_trainer.rules.dmsgd import dmsgd, m2sgd
from regrow_trainer.rules.meta_sgd import meta_sgd
from regrow_trainer.rules.momentum import momentum
from regrow_trainer.tensors import Tensors

PAPER = "M2SGD: learning to learn important weights. CVPR workshops 2020"
RATES = (0.001, 0.003, 0.01, 0.03)
FIRST_LEARNER = 1000
MORE = 20  # trajectories, where the paper has one
PLAIN, TUNED = "SGD, rate 0.001", "SGD, best of the rates"
LONGER = f"{PLAIN}, longer"
BEST, GONE = "best five of ten: ", "weights removed: "


@dataclass(frozen=True, eq=False)
class Case:
    """One of the tables. `published` has `LONGER`, "DMSGD" and an "M2SGD xi" for every threshold.

    In a preset, `episodes` are learners per seed; `sets` say for how many steps they train, and `LONGER`.
    """

    name: str
    title: str
    setting: Setting
    thresholds: tuple[float, ...]
    published: Mapping[str, Published]
    removed: Mapping[str, Published]
    differs: tuple[str, ...]
    presets: Mapping[str, Preset]
    remarks: str = ""
    needs: tuple[str, ...] = ()


class Lab(NamedTuple):
    """What a row's optimiser is made from."""

    case: Case
    work: Work
    preset: Preset
    seed: int

    def rule(self, name: str = "dmsgd", trajectories: int = 1) -> Tensors:
        """A rule's tensors, trained."""
        folder = self.work.folder / f"{self.case.name}-optimisers"
        return learners.trained(self.case.setting, name, trajectories, self.seed, folder)

    def untrained(self) -> Tensors:
        """DMSGD's as they are drawn."""
        return put(dmsgd(seed=self.seed).meta(self.case.setting.fresh()), pick())


Make = Callable[[Lab], Tensors]


class Row(NamedTuple):
    """How its optimiser is made, how many of the seeds it takes, and which of the lengths."""

    make: Callable[[Lab], Optimiser]
    seeds: int = 100
    length: str = "steps"


def _sgd(rate: float, lab: Lab, share: float = 0.0) -> Optimiser:
    rule = momentum(rate)
    return Optimiser(rule, put(rule.meta(lab.case.setting.fresh()), pick()), random=share)


def _dynamic(xi: float, meta: Make, lab: Lab) -> Optimiser:
    return Optimiser(m2sgd(xi), meta(lab))


def _frozen(xi: float, meta: Make, lab: Lab) -> Optimiser:
    return learners.frozen(lab.case.setting, meta(lab), xi)


def _masked(xi: float, lab: Lab) -> Optimiser:
    """SGD under masks that are random, and as dense as this seed's frozen one."""
    mask = _frozen(xi, Lab.rule, lab).masks.values()
    kept = sum(int(m.sum()) for m in mask) / sum(m.numel() for m in mask)
    return _sgd(_best_rate(lab), lab, 1 - kept)


def _masked_as(xi: float) -> str:
    return f"{TUNED}, random mask as M2SGD {xi:g}"


def _best_rate(lab: Lab) -> float:
    """Chosen on samples held back from training, never on the test."""
    return max(RATES, key=lambda rate: float(np.mean(_outcome(f"SGD, rate {rate:g}", lab).held_back)))


def _rows(case: Case) -> dict[str, Row]:
    longer = f"{MORE} trajectories"
    made = {
        LONGER: Row(partial(_sgd, RATES[0]), length="long"),
        "Meta-SGD": Row(lambda lab: Optimiser(meta_sgd(), lab.rule("meta_sgd"))),
        "DMSGD": Row(lambda lab: Optimiser(dmsgd(), lab.rule("dmsgd"))),
        "DMSGD, untrained": Row(lambda lab: Optimiser(dmsgd(), lab.untrained()), 2),
        f"Meta-SGD, {longer}": Row(lambda lab: Optimiser(meta_sgd(), lab.rule("meta_sgd", MORE)), 2),
        **{f"SGD, rate {rate:g}": Row(partial(_sgd, rate)) for rate in RATES},
    }
    for xi in case.thresholds:
        name = f"M2SGD {xi:g}"
        made[name] = Row(partial(_dynamic, xi, Lab.rule))
        made[f"{name}, untrained"] = Row(partial(_dynamic, xi, Lab.untrained), 2)
        made[f"{name}, frozen"] = Row(partial(_frozen, xi, Lab.rule))
        made[f"{name}, frozen, untrained"] = Row(partial(_frozen, xi, Lab.untrained), 2)
        made[f"{name}, frozen, {longer}"] = Row(partial(_frozen, xi, partial(Lab.rule, trajectories=MORE)), 2)
        made[_masked_as(xi)] = Row(partial(_masked, xi))
    return made


def _outcome(name: str, lab: Lab) -> Outcome:
    """A row's learners under one seed: from the folder, or trained now."""
    if name == TUNED:
        name = f"SGD, rate {_best_rate(lab):g}"
    case, row = lab.case, _rows(lab.case)[name]
    steps, count = int(lab.preset.sets[row.length][0]), lab.preset.episodes
    slug = re.sub(r"[^A-Za-z0-9.]+", "_", name)
    path = lab.work.folder / f"{case.name}-{steps}x{count}" / f"{slug}-s{lab.seed}.json"
    if not path.exists():
        first = FIRST_LEARNER + lab.seed * count
        made = learners.outcome(case.setting, row.make(lab), steps, range(first, first + count))
        path.parent.mkdir(exist_ok=True)
        atomic_write(path, json.dumps(made._asdict()).encode())
    return Outcome(**json.loads(path.read_text(encoding="utf-8")))


def _measured(test: Sequence[float], made: Sequence[Outcome], facts: dict[str, object]) -> Measured:
    zeros = float(np.mean([share for outcome in made for share in outcome.zeros]))
    seconds = round(sum(outcome.cpu_seconds for outcome in made))
    told = {"weights removed": round(zeros, 4), "training, CPU seconds": seconds, **facts}
    return Measured(Evaluation(np.array(test), "accuracy"), told)


def _run(case: Case, name: str, seed: int, preset: Preset, work: Work) -> Measured:
    lab = Lab(case, work, preset, seed)
    made = _outcome(name, lab)
    return _measured(made.test, [made], {"chosen rate": _best_rate(lab)} if name == TUNED else {})


def _run_best(case: Case, name: str, seed: int, preset: Preset, work: Work) -> Measured:
    """The released code's statistic: of ten learners those five that do best on the test."""
    made = [_outcome(name, Lab(case, work, preset, s)) for s in (seed, seed + 1)]
    return _measured(sorted(score for outcome in made for score in outcome.test)[-5:], made, {})


def _run_removed(case: Case, name: str, seed: int, preset: Preset, work: Work) -> Measured:
    zeros = _outcome(name, Lab(case, work, preset, seed)).zeros
    return Measured(Evaluation(np.array(zeros), "accuracy"))


def _cells(case: Case) -> tuple[Cell, ...]:
    printed = case.published
    published = [Cell(n, n, "accuracy", p, rival=n.startswith("SGD")) for n, p in printed.items()]
    # More than printed is as far from the paper as less.
    removed = [Cell(GONE + n, n, "weights removed", p, rival=True) for n, p in case.removed.items()]
    best = [
        Cell(BEST + n, n, "accuracy", grid="The released code's best five of ten learners") for n in printed
    ]
    controls = [Cell(n, n, "accuracy", grid="Controls") for n in (TUNED, *_rows(case)) if n not in printed]
    return (*published, *removed, *best, *controls)


def _claims(case: Case) -> tuple[Claim, ...]:
    ask = partial(Claim, published=False)
    made = [
        Claim("Meta-SGD above SGD at 0.001 that trains longer", "Meta-SGD", LONGER),
        Claim("DMSGD above Meta-SGD", "DMSGD", "Meta-SGD"),
        ask("DMSGD above SGD at a tuned rate", "DMSGD", TUNED),
        ask("Meta-SGD above SGD at a tuned rate", "Meta-SGD", TUNED),
        ask("DMSGD above the same before it was trained", "DMSGD", "DMSGD, untrained"),
    ]
    for xi in case.thresholds:
        name, random = f"M2SGD {xi:g}", _masked_as(xi)
        lost = round(case.published["DMSGD"].value - case.published[name].value, 4)
        made += [
            Claim(f"{name} loses no more against DMSGD than printed", name, "DMSGD", lost),
            ask(f"{name} above the same before it was trained", name, f"{name}, untrained"),
            ask(f"{name} above SGD under random masks as dense", name, random),
            ask(f"{name}, frozen, above SGD under random masks as dense", f"{name}, frozen", random),
            ask(f"{name} no worse for its mask being frozen", f"{name}, frozen", name),
        ]
    return tuple(made)


def _jobs(case: Case, preset: Preset) -> Sequence[Job]:
    rows, seeds = _rows(case), preset.seeds
    asked = [(n, seed) for n, row in rows.items() for seed in seeds[: row.seeds]]
    asked += [(TUNED, seed) for seed in seeds]
    made = [Job(n, seed, partial(_run, case, n, seed, preset)) for n, seed in asked]
    for name, seed in product(case.removed, seeds):
        made.append(Job(GONE + name, seed, partial(_run_removed, case, name, seed, preset)))
    for name, seed in product(case.published, seeds[::2]):
        made.append(Job(BEST + name, seed, partial(_run_best, case, name, seed, preset)))
    return made


def table(case: Case) -> Table:
    """The table, with its controls and claims."""
    return Table(
        name=case.name,
        title=case.title,
        paper=PAPER,
        metric="accuracy",
        cells=_cells(case),
        claims=_claims(case),
        differs=(
            *case.differs,
            "The paper trains one optimiser; a seed here is an optimiser of its own with five learners, so "
            "that intervals say how far optimisers differ too. Controls of two seeds have ten learners.",
            "The paper says twenty learners; its released code takes ten and reports the best five of them.",
            "Frozen: the rates, and the mask, of the last step of a warm-up of 300 steps stay as they are.",
        ),
        presets=case.presets,
        jobs=partial(_jobs, case),
        scored="learners",
        remarks=case.remarks,
        needs=case.needs,
    )
