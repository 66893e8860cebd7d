"""ANP, tables 2 to 11, on Omniglot in place of mini-ImageNet and CUB: one network, 5-way 1-shot.

Every row starts from the same dense network, is pruned by a tenth of every layer per round and trains for
equally many iterations, the dense row too. The paper retrains its rivals on one target task; here they run
that way and, as fair controls, with meta-retraining.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from benchmarks.papers import meta_lth_omniglot
from benchmarks.papers.measure import scored
from benchmarks.papers.table import Cell, Chart, Claim, Job, Measured, Preset, Table
from benchmarks.papers.work import Work
from regrow_trainer import metrics
from regrow_trainer.recipe import Prune

SPARSITIES = (30, 50, 80, 85)
SETTING = meta_lth_omniglot.SETTINGS[0]


class Row(NamedTuple):
    """A pruner, and whether it is scored and retrained on one target task, as the paper's rivals are."""

    words: str
    pruner: str
    args: dict[str, Any]
    one_task: bool = False


TASKS = 64  # whose activations make a curvature
ROWS = {
    "anp": Row("ANP", "anp", {"tasks": TASKS}),
    "magnitude": Row("magnitude, meta-retrained", "magnitude", {}),
    "l-obs": Row("L-OBS on many tasks, meta-retrained", "l-obs", {"tasks": TASKS}),
    "l-obs-1": Row("L-OBS on one task, meta-retrained", "l-obs", {"tasks": 1}),
    "magnitude-own": Row("magnitude, one target task", "magnitude", {}, True),
    "l-obs-own": Row("L-OBS, one target task", "l-obs", {"tasks": 1}, True),
}
# One task of unseen classes; its own episode is drawn from another stream than those that are scored.
OWN = ("train.task_pool=1", "train.tasks=1", "train.chunk=1", "data.train=omniglot:test")


def dense(preset: Preset, seed: int, work: Work) -> Measured:
    """The dense network with as many more iterations as every pruned one."""
    start = meta_lth_omniglot.base(work, SETTING, preset, seed)
    recipe = work.recipe(SETTING.recipe, seed, SETTING.sets, preset.sets["base"], preset.sets["retrain"])
    run = work.trained("dense-5w1s", recipe, start)
    return _measured(work, run, preset)


def pruned(preset: Preset, seed: int, key: str, percent: int, work: Work) -> Measured:
    """In rounds, with retraining between them, scored at the end."""
    row = ROWS[key]
    start = meta_lth_omniglot.base(work, SETTING, preset, seed)
    stages = (SETTING.sets, preset.sets["base"], preset.sets["retrain"], OWN if row.one_task else ())
    plan = Prune(pruner=row.pruner, args=row.args, sparsity=percent / 100, schedule="iterative:0.1")
    run = work.trained(f"{key}-5w1s-{percent}", work.recipe(SETTING.recipe, seed, *stages), start, plan)
    rounds = [r for r in metrics.read(run.metrics) if r["kind"] == "prune"]
    return _measured(work, run, preset, {"pruning_seconds": sum(r["seconds"] for r in rounds)})


def _measured(work: Work, run: Any, preset: Preset, facts: dict[str, Any] | None = None) -> Measured:
    made = work.last(run)
    return Measured(
        scored(made, preset.episodes, (made.steps,), workers=work.workers)[made.steps], facts or {}
    )


def jobs(preset: Preset) -> list[Job]:
    """The dense row, then by sparsity, the largest first: it decides."""
    made = []
    for seed in preset.seeds:
        made.append(Job("0", seed, partial(dense, preset, seed)))
        made += [
            Job(f"{percent}/{key}", seed, partial(pruned, preset, seed, key, percent))
            for percent in map(int, preset.parts["percent"])
            for key in ROWS
        ]
    return made


def cells() -> Sequence[Cell]:
    made = [Cell("0", "dense, as long", "0 %", comparable=False)]
    made += [
        Cell(f"{p}/{key}", row.words, f"{p} %", comparable=False)
        for key, row in ROWS.items()
        for p in SPARSITIES
    ]
    return made


TABLE = Table(
    name="anp_omniglot",
    title="ANP on Omniglot",
    paper="ANP, Pruning meta-trained networks for on-device adaptation (2021): the claims of tables 2 to 11",
    metric="accuracy",
    cells=tuple(cells()),
    claims=(
        Claim("ANP at 85 % is within one point of dense, as in all its tables", "85/anp", "0", 0.01),
        Claim("ANP is better than magnitude on one target task, as published (85 %)",
              "85/anp", "85/magnitude-own"),
        Claim("ANP is better than L-OBS on one target task, as published (85 %)", "85/anp", "85/l-obs-own"),
        Claim("ANP is better than magnitude with the same meta-retraining (85 %)",
              "85/anp", "85/magnitude", published=False),
        Claim("ANP is better than L-OBS on many tasks with the same meta-retraining (85 %)",
              "85/anp", "85/l-obs", published=False),
        Claim("ANP is better than L-OBS on one task with the same meta-retraining (85 %)",
              "85/anp", "85/l-obs-1", published=False),
        Claim("ANP at 50 % is within one point of dense", "50/anp", "0", 0.01),
    ),
    differs=(
        "Omniglot in place of mini-ImageNet and CUB, whose files are not here: claims are held side by side, "
        "not figures.",
        "The dense network is trained by FOMAML with one step; the paper's by MAML with five.",
        "The paper's rivals see one target task only; rows with meta-retraining are controls that it lacks.",
    ),
    presets={
        "cpu": Preset(
            "about fifty minutes of one core beyond meta_lth_omniglot: 4,000 more iterations, one seed",
            (0,), 600,
            {
                "base": meta_lth_omniglot.TABLE.presets["cpu"].sets["base"],
                "retrain": ("train.iterations=4000", "train.lr=2e-3"),
            },
            {"percent": ("85", "50")},
        ),
        "gpu": Preset(
            "10,000 iterations of 32 tasks in up to nine rounds, three seeds",
            (0, 1, 2), 600,
            {
                "base": meta_lth_omniglot.TABLE.presets["gpu"].sets["base"],
                "retrain": ("train.iterations=10000",),
            },
            {"percent": tuple(map(str, reversed(SPARSITIES)))},
        ),
    },
    jobs=jobs,
    charts=(
        Chart("sparsity", "weights removed, %", {
            row.words: ((0, "0"), *((p, f"{p}/{key}") for p in SPARSITIES)) for key, row in ROWS.items()
        }),
    ),
)  # fmt: skip
