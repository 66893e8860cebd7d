"""Meta-LTH, table 3: Omniglot, dense and 90 to 50 % pruned, by what the device moves.

The rate and the number of steps on the device are chosen on validation classes, from RATES and STEPS, for
every scope on its own: the paper prints two different rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from benchmarks.papers.measure import scored
from benchmarks.papers.table import Cell, Chart, Claim, Job, Measured, Preset, Published, Table
from benchmarks.papers.work import Work
from regrow.checkpoint import Checkpoint, Update
from regrow_trainer.recipe import Prune
from regrow_trainer.rundir import RunDir

RATES, STEPS = (0.01, 0.1, 0.4), (1, 5)
SPARSITIES = (90, 80, 70, 60, 50)
VALIDATION = 100  # episodes a rate is chosen on


class Setting(NamedTuple):
    """Ways and shots, and the recipe that trains them."""

    name: str
    recipe: str
    sets: tuple[str, ...] = ()


SETTINGS = (
    Setting("5w1s", "omniglot-5w1s-fomaml"),
    Setting("5w5s", "omniglot-5w1s-fomaml", ("data.k_shot=5",)),
    Setting("20w1s", "omniglot-20w1s-fomaml"),
    Setting("20w5s", "omniglot-20w1s-fomaml", ("data.k_shot=5",)),
)
# Accuracy and deviation over three seeds, percent, as printed: dense, then by sparsity.
PRINTED: dict[str, tuple[tuple[float, float], ...]] = {
    "5w1s": ((98.3, 0.5), (97.77, 0.21), (97.74, 0.32), (97.61, 0.81), (97.52, 0.06), (96.58, 0.22)),
    "5w5s": ((99.2, 0.2), (99.36, 0.36), (99.30, 0.06), (99.29, 0.04), (99.10, 0.01), (98.99, 0.21)),
    "20w1s": ((89.4, 0.5), (91.68, 0.29), (93.57, 0.17), (93.75, 0.03), (93.11, 0.06), (92.44, 0.01)),
    "20w5s": ((97.9, 0.1), (97.70, 0.11), (98.08, 0.04), (98.36, 0.55), (98.36, 0.07), (97.91, 0.05)),
}
# What the device moves -> patterns of parameters ("weights": those that were pruned), and which positions.
SCOPES: dict[str, tuple[tuple[str, ...], Update]] = {
    "kept": (("*",), "kept"),
    "kept weights alone": (("weights",), "kept"),
    "head alone": (("@head",), "kept"),
    "strict": (("weights",), "pruned"),
    "plus_head": (("weights", "@head"), "pruned"),
    "plus_unmasked": (("*",), "pruned"),
    "all": (("*",), "kept"),  # with no mask at all
}
TOLD = {
    "kept": "what was trained (kept)",
    "kept weights alone": "kept convolution weights alone",
    "head alone": "head alone",
    "strict": "pruned weights alone (strict)",
    "plus_head": "pruned weights and head (plus_head)",
    "plus_unmasked": "pruned weights and all unmasked (plus_unmasked)",
    "all": "everything",
}


def base(work: Work, setting: Setting, preset: Preset, seed: int) -> RunDir:
    """The dense network, trained by FOMAML."""
    recipe = work.recipe(setting.recipe, seed, setting.sets, preset.sets["base"])
    return work.trained(f"base-{setting.name}", recipe)


def ticket(work: Work, setting: Setting, preset: Preset, seed: int, percent: int) -> RunDir:
    """Masked by the dense network's magnitudes, back at its first weights, trained again."""
    start = base(work, setting, preset, seed)
    recipe = work.recipe(setting.recipe, seed, setting.sets, preset.sets["base"], preset.sets["retrain"])
    plan = Prune(pruner="magnitude", sparsity=percent / 100, rewind=True)
    return work.trained(f"ticket-{setting.name}-{percent}", recipe, start, plan)


def device(made: Checkpoint, scope: str, rate: float, batch_norm: str = "") -> Checkpoint:
    """The same network under another rule of the device."""
    words, update = SCOPES[scope]
    patterns = tuple(name for w in words for name in (made.masks if w == "weights" else (w,)))
    learner = made.recipe["learner"]
    recipe: dict[str, Any] = {
        **made.recipe,
        "rule": {**made.recipe["rule"], "args": {"lr": rate}},
        "learner": {**learner, "batch_norm": batch_norm or learner["batch_norm"]},
    }
    masks = {} if scope == "all" else made.masks
    # The rate is a tensor of the checkpoint; it is made anew from the recipe's.
    meta = {"lr": made.meta["lr"] * 0 + rate}
    return replace(made, adaptable=patterns, update=update, masks=masks, recipe=recipe, meta=meta)


def measured(
    work: Work, run: RunDir, preset: Preset, scope: str, steps: Sequence[int], batch_norm: str = ""
) -> Measured:
    """Test scores at the rate and the number of steps that are best on validation classes."""
    made, every = work.last(run), range(max(steps) + 1)
    tried = {
        rate: scored(device(made, scope, rate, batch_norm), VALIDATION, every, "validation", work.workers)
        for rate in RATES
    }
    # The curves are those of validation episodes: the test episodes are scored once, at what was chosen.
    rate, most = max(
        ((r, n) for r in RATES for n in steps), key=lambda choice: tried[choice[0]][choice[1]].mean
    )
    found = scored(device(made, scope, rate, batch_norm), preset.episodes, (most,), workers=work.workers)
    return Measured(
        found[most],
        {
            "rate": rate,
            "steps": most,
            "validation": {f"{r:g} x {n}": tried[r][n].mean for r in RATES for n in steps},
        },
        [(n, e.mean) for n, e in tried[rate].items()],
    )


def dense_cell(setting: Setting, preset: Preset, seed: int, batch_norm: str, work: Work) -> Measured:
    run = base(work, setting, preset, seed)
    return measured(work, run, preset, "all", STEPS, batch_norm)


def ticket_cell(
    setting: Setting, preset: Preset, seed: int, percent: int, scope: str, steps: tuple[int, ...],
    batch_norm: str, work: Work,
) -> Measured:  # fmt: skip
    run = ticket(work, setting, preset, seed, percent)
    return measured(work, run, preset, scope, steps, batch_norm)


def cells() -> list[Cell]:
    """The paper's rows twice, for its own rule and for the one that was trained, then every scope."""
    made = []
    for name, printed in PRINTED.items():
        figures = [Published(value / 100, spread / 100) for value, spread in printed]
        made.append(Cell(f"{name}/0", "FOMAML, dense", name, figures[0]))
        made.append(Cell(f"{name}/0/support", "FOMAML, dense", name, grid=SUPPORT))
        for percent, figure in zip(SPARSITIES, figures[1:], strict=True):
            for scope, words in (("plus_head", "pruned and head move"), ("kept", "kept weights move")):
                row = f"Meta-LTH {percent} %, {words}"
                made.append(Cell(f"{name}/{percent}/{scope}", row, name, figure))
                if percent in SHOWN:
                    made.append(Cell(f"{name}/{percent}/{scope}/support", row, name, grid=SUPPORT))
            if percent in SCOPED:
                made += [
                    Cell(f"{name}/{percent}/{scope}/{n}", words, f"{name}, {n} step{'s' * (n > 1)}",
                         grid=f"What the device moves, {percent} % pruned")
                    for scope, words in TOLD.items() for n in STEPS
                ]  # fmt: skip
    return made


SHOWN = (90, 50)  # sparsities that are measured under the device's norms too
SCOPED = (90,)  # and those at which every scope is
SUPPORT = "Norms by the support set alone, as a device answers one sample at a time"


def jobs(preset: Preset) -> list[Job]:
    """What a preset has the time for: the settings and sparsities that it names."""
    made = []
    chosen = [s for s in SETTINGS if s.name in preset.parts["settings"]]
    for seed in preset.seeds:
        for setting in chosen:
            for norm, end in (("", ""), ("support", "/support")):
                run = partial(dense_cell, setting, preset, seed, norm)
                made.append(Job(f"{setting.name}/0{end}", seed, run))
            for percent in map(int, preset.parts["percent"]):
                part = partial(ticket_cell, setting, preset, seed, percent)
                own = f"{setting.name}/{percent}"
                for scope in ("plus_head", "kept"):
                    made.append(Job(f"{own}/{scope}", seed, partial(part, scope, STEPS, "")))
                    if percent in SHOWN:
                        run = partial(part, scope, STEPS, "support")
                        made.append(Job(f"{own}/{scope}/support", seed, run))
                if percent in SCOPED:
                    made += [
                        Job(f"{own}/{scope}/{n}", seed, partial(part, scope, (n,), ""))
                        for scope in SCOPES for n in STEPS
                    ]  # fmt: skip
    return made


BASE = ("learner.batch_norm=transductive", "validation.every=1000")
TABLE = Table(
    name="meta_lth_omniglot",
    title="Meta-LTH on Omniglot",
    paper="Meta-LTH, Learning to learn with indispensable connections (2023), table 3",
    metric="accuracy",
    cells=tuple(cells()),
    tolerance=0.015,
    claims=(
        Claim("90 % pruned is within 1.5 points of dense, as printed (5w1s, pruned and head move)",
              "5w1s/90/plus_head", "5w1s/0", 0.015),
        Claim("90 % pruned is at least as accurate as 50 % (5w1s, pruned and head move)",
              "5w1s/90/plus_head", "5w1s/50/plus_head"),
        Claim("moving pruned weights and head is at least as good as the rule that was trained (5w1s, 90 %)",
              "5w1s/90/plus_head", "5w1s/90/kept"),
        Claim("the rule that was trained keeps 90 % pruned within 1.5 points of dense (5w1s)",
              "5w1s/90/kept", "5w1s/0", 0.015, published=False),
        Claim("the head alone is at least as good as all that was trained (5w1s, 90 %, 1 step)",
              "5w1s/90/head alone/1", "5w1s/90/kept/1", published=False),
    ),
    differs=(
        "The paper names 1200 training characters; 172 of them are held back here, and choose the rate and "
        "the number of steps of every rule. The 423 test characters are those of the paper.",
        "A character turned by quarters is a class of its own.",
        "Convolutions have strides in place of pooling, and training episodes 5 queries per class.",
        "The paper's FOMAML row is, figure for figure, that of earlier papers; ours is trained here.",
        "Trainings end at a fixed length and the last state counts, not the best validated.",
    ),
    presets={
        "cpu": Preset(
            "an hour and a half of one core: 5w1s, one seed, 24,000 iterations of 8 tasks, as many after "
            "rewinding: the paper's 192,000 tasks there, a tenth of its 1.9 million before",
            (0,), 600,
            {
                "retrain": (),
                "base": (*BASE, "train.iterations=24000", "train.tasks=8", "train.chunk=8", "train.lr=5e-3",
                         "validation.every=4000"),
            },
            {"settings": ("5w1s",), "percent": ("90", "50")},
        ),
        "gpu": Preset(
            "full length: 60,000 iterations of 32 tasks, 6,000 after rewinding, three seeds",
            (0, 1, 2), 600,
            {
                "base": (*BASE, "train.iterations=60000", "train.tasks=32", "train.chunk=32"),
                "retrain": ("train.iterations=6000",),
            },
            {"settings": tuple(s.name for s in SETTINGS), "percent": tuple(map(str, SPARSITIES))},
        ),
    },
    jobs=jobs,
    charts=(
        Chart("sparsity", "weights removed, %", {
            words: ((0, "5w1s/0"), *((p, f"5w1s/{p}/{scope}") for p in reversed(SPARSITIES)))
            for words, scope in (("pruned and head move", "plus_head"), ("kept weights move", "kept"))
        }),
        Chart("steps", "steps on the device (5w1s, 90 % pruned)", curves={
            words: f"5w1s/90/{scope}/5" for scope, words in TOLD.items()
        }),
    ),
)  # fmt: skip
