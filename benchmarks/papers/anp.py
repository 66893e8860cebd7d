"""ANP's tables: one dense network, pruned by a tenth of every layer per round, with retraining between.

Every row starts from the same dense network and trains for equally many iterations, the dense row too. The
paper retrains its rivals on one target task; here they run that way and, as fair controls, with
meta-retraining.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from benchmarks.papers.measure import scored
from benchmarks.papers.table import Cell, Chart, Job, Measured, Preset, Published
from benchmarks.papers.work import Work
from regrow_trainer import metrics
from regrow_trainer.recipe import Prune
from regrow_trainer.rundir import RunDir

PAPER = "ANP, Pruning meta-trained networks for on-device adaptation (2021)"


class Row(NamedTuple):
    """A pruner, and whether it is scored and retrained on one target task, as the paper's rivals are."""

    words: str
    pruner: str
    args: dict[str, Any]
    one_task: bool = False


def rows(tasks: int, *, one_task: bool = True) -> dict[str, Row]:
    """All that is compared; the activations of so many tasks make a curvature."""
    made = {
        "anp": Row("ANP", "anp", {"tasks": tasks}),
        "magnitude": Row("magnitude, meta-retrained", "magnitude", {}),
        "l-obs": Row("L-OBS on many tasks, meta-retrained", "l-obs", {"tasks": tasks}),
        "l-obs-1": Row("L-OBS on one task, meta-retrained", "l-obs", {"tasks": 1}),
        "magnitude-own": Row("magnitude, one target task", "magnitude", {}, True),
        "l-obs-own": Row("L-OBS, one target task", "l-obs", {"tasks": 1}, True),
    }
    return {key: row for key, row in made.items() if one_task or not row.one_task}


@dataclass(frozen=True)
class Case:
    """A network and what is done to it.

    `label` calls its runs, by what was done and how far. `own` is the source of the target task of rows that
    see one: of unseen classes, its episode drawn from another stream than those that are scored. A preset's
    `sets` are "base" and "retrain"; the largest of its sparsities comes first, for it decides. Where they are
    "longer" too, the dense row and ANP at the largest sparsity are also retrained so.
    """

    label: str
    recipe: str
    rows: Mapping[str, Row]
    sparsities: tuple[int, ...]
    sets: tuple[str, ...] = ()
    own: str = ""
    spare: tuple[str, ...] = ()  # weights that stay whole beside the classifier's
    # What the paper prints: dense, and by sparsity and row; None and nothing where it has no such table.
    dense: Published | None = None
    printed: Mapping[tuple[int, str], Published] = field(default_factory=dict)
    comparable: bool = True
    longer: bool = False


def _base(case: Case, preset: Preset, seed: int, work: Work) -> RunDir:
    recipe = work.recipe(case.recipe, seed, case.sets, preset.sets["base"])
    return work.trained(case.label.format("base", ""), recipe)


def dense(case: Case, preset: Preset, seed: int, longer: bool, work: Work) -> Measured:
    """The dense network with as many more iterations as every pruned one."""
    recipe = work.recipe(case.recipe, seed, *_stages(case, preset, longer))
    run = work.trained(case.label.format("dense", ""), recipe, _base(case, preset, seed, work))
    return _measured(work, run, preset)


def _stages(case: Case, preset: Preset, longer: bool) -> tuple[tuple[str, ...], ...]:
    sets = preset.sets
    return (case.sets, sets["base"], sets["retrain"], sets["longer"] if longer else ())


def pruned(
    case: Case, preset: Preset, seed: int, key: str, percent: int, longer: bool, work: Work
) -> Measured:
    """In rounds, with retraining between them, scored at the end."""
    row = case.rows[key]
    own = (f"data.train={case.own}", "train.task_pool=1", "train.tasks=1", "train.chunk=1")
    stages = (*_stages(case, preset, longer), own if row.one_task else ())
    plan = Prune(
        pruner=row.pruner,
        args=row.args,
        sparsity=percent / 100,
        schedule="iterative:0.1",
        spare=list(case.spare),
    )
    start = _base(case, preset, seed, work)
    run = work.trained(
        case.label.format(key, f"-{percent}"), work.recipe(case.recipe, seed, *stages), start, plan
    )
    rounds = [r for r in metrics.read(run.metrics) if r["kind"] == "prune"]
    return _measured(work, run, preset, {"pruning_seconds": sum(r["seconds"] for r in rounds)})


def _measured(work: Work, run: RunDir, preset: Preset, facts: Mapping[str, Any] | None = None) -> Measured:
    made = work.last(run)
    found = scored(made, preset.episodes, (made.steps,), workers=work.workers)
    return Measured(found[made.steps], facts or {})


def jobs(case: Case, preset: Preset) -> list[Job]:
    """Of every seed the dense row, then what a preset asks for."""
    asked = preset.parts.get("percent", tuple(map(str, case.sparsities)))
    made = []
    for seed in preset.seeds:
        made.append(Job("0", seed, partial(dense, case, preset, seed, False)))
        made += [
            Job(f"{percent}/{key}", seed, partial(pruned, case, preset, seed, key, percent, False))
            for percent in map(int, asked)
            for key in case.rows
        ]
        if "longer" in preset.sets:
            most = max(case.sparsities)
            run = partial(pruned, case, preset, seed, "anp", most, True)
            made.append(Job("0/longer", seed, partial(dense, case, preset, seed, True)))
            made.append(Job(f"{most}/anp/longer", seed, run))
    return made


def cells(case: Case) -> tuple[Cell, ...]:
    """The dense row, and every other at every sparsity."""
    make = partial(Cell, comparable=case.comparable)
    most, grid = max(case.sparsities), "Retrained longer"
    again = (
        make("0/longer", "dense, as long", "0 %", grid=grid),
        make(f"{most}/anp/longer", case.rows["anp"].words, f"{most} %", grid=grid),
    )
    return (
        make("0", "dense, as long", "0 %", case.dense),
        *(
            make(f"{p}/{key}", row.words, f"{p} %", case.printed.get((p, key)), rival=key != "anp")
            for key, row in case.rows.items()
            for p in case.sparsities
        ),
        *(again if case.longer else ()),
    )


def chart(case: Case) -> Chart:
    """Accuracy, or error, against sparsity."""
    lines = {
        row.words: ((0, "0"), *((p, f"{p}/{key}") for p in case.sparsities)) for key, row in case.rows.items()
    }
    return Chart("sparsity", "weights removed, %", lines)
