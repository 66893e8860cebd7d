"""PAMELA's tables of pictures: its own row, and those it is held against, on one data set each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product

from benchmarks.papers.measure import walked
from benchmarks.papers.pictures import PHOTOGRAPHS, REPTILE, pictures
from benchmarks.papers.table import Cell, Chart, Claim, Job, Measured, Preset, Published, Table
from benchmarks.papers.work import Work
from regrow_trainer.recipe import Recipe

MAML, MAMLPP, FOMAML = "MAML, 5 steps", "MAML++, 5 steps", "FOMAML, 5 steps"
REPTILE_50, META_SGD, PAMELA = "Reptile, 50 steps", "Meta-SGD, 1 step", "PAMELA, n 5, w 2"
# Rates of five steps that MAML is not held to in the paper.
FAST = "MAML, 5 steps of 0.1"
_AS_MAML = (*PHOTOGRAPHS, "backbone.args={ width = 64 }", "rule.args.lr=0.01", "tasks=4", "chunk=4")
# row -> recipe and settings
LEARNERS: dict[str, tuple[str, tuple[str, ...]]] = {
    MAML: ("cifar-5w1s-maml", ()),
    MAMLPP: ("omniglot-5w1s-mamlpp", _AS_MAML),
    FOMAML: ("cifar-5w1s-fomaml", ()),
    REPTILE_50: ("omniglot-5w1s-reptile", (*_AS_MAML, *REPTILE)),
    META_SGD: ("cifar-5w1s-meta-sgd", ()),
    PAMELA: ("cifar-5w1s-pamela", ()),
    FAST: ("cifar-5w1s-maml", ("rule.args.lr=0.1",)),
}
FULL = Preset(
    "Conv4 with 64 channels and pooling, 15 queries per class, 60,000 iterations of 4 tasks",
    (0,), 600,
    {"train": (), "five": ("yes",)},
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One data set: `source` unless it is the recipes' own.

    `printed` has a row's accuracy and what stands behind "±", for one shot and for five; `cited` those of
    methods that nothing here has. A preset's `sets` are "train" and, where five shots are asked for too,
    "five".
    """

    name: str
    data: str
    printed: Mapping[str, tuple[tuple[float, float], tuple[float, float]]]
    differs: tuple[str, ...]
    presets: Mapping[str, Preset]
    source: str = ""
    cited: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    remarks: str = ""


def table(case: Case) -> Table:
    """The table of a data set."""
    curves = {row: _key(row, 1) for row in (*case.printed, FAST) if row != REPTILE_50}  # ten times as long
    return Table(
        name=case.name,
        title=f"PAMELA on {case.data}, accuracy",
        paper="Rajasegaran et al.: Meta-learning the learning trends shared across tasks. 2020",
        metric="accuracy",
        cells=_cells(case),
        claims=_claims(case),
        differs=(*case.differs, "Batch norm takes the support set's statistics, never the queries'."),
        presets=case.presets,
        jobs=partial(_jobs, case),
        charts=(Chart("steps", "steps", curves=curves),),
        needs=(case.source,) if case.source else (),
        remarks=case.remarks,
    )


def recipe(case: Case, row: str, shots: int, seed: int, preset: Preset, work: Work) -> Recipe:
    """What a cell trains."""
    name, sets = LEARNERS[row]
    source = pictures(case.source) if case.source else ()
    return work.recipe(name, seed, source, sets, preset.sets["train"], (f"k_shot={shots}",))


def _key(row: str, shots: int) -> str:
    return f"{row}, {shots}-shot"


def _cells(case: Case) -> tuple[Cell, ...]:
    printed = [
        Cell(_key(row, k), row, f"5-way {k}-shot", Published(*figure), rival=row != PAMELA)
        for row, both in {**case.printed, **case.cited}.items()
        for k, figure in zip((1, 5), both, strict=False)
    ]
    return (*printed, Cell(_key(FAST, 1), FAST, "5-way 1-shot"))


def _claims(case: Case) -> tuple[Claim, ...]:
    orders = [
        Claim(f"PAMELA above {row}, {k}-shot", _key(PAMELA, k), _key(row, k))
        for k, row in product((1, 5), case.printed)
        if row != PAMELA
    ]
    fast = Claim("PAMELA above MAML at ten times its rate", _key(PAMELA, 1), _key(FAST, 1), published=False)
    return (*orders, fast)


def _run(case: Case, row: str, shots: int, seed: int, preset: Preset, work: Work) -> Measured:
    label = "-".join(filter(None, (case.source, LEARNERS[row][0])))
    run = work.trained(label, recipe(case, row, shots, seed, preset, work))
    return walked(work.last(run), preset.episodes, work.workers)


def _jobs(case: Case, preset: Preset) -> Sequence[Job]:
    shots = (1, 5) if preset.sets.get("five") else (1,)
    asked = [*product(case.printed, shots), (FAST, 1)]
    return [
        Job(_key(row, k), seed, partial(_run, case, row, k, seed, preset))
        for (row, k), seed in product(asked, preset.seeds)
    ]
