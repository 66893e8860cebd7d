"""GEMS' table 2: one learner for two kinds of pictures, against one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

from benchmarks.papers.measure import scored
from benchmarks.papers.table import Cell, Claim, Job, Measured, Preset, Published, Table
from benchmarks.papers.work import Work
from regrow.checkpoint import Checkpoint

ONE, OWN, BMP, MMSUP = "MAML for both", "Multi-MAML", "BMP", "MMSUP"
TWICE = "MAML for both, twice as long"
RECIPES = {ONE: "maml", OWN: "maml", BMP: "bmp", MMSUP: "mmsup", TWICE: "maml"}
CHOSEN = (
    "What BMP's input is multiplied by, how wide its output is, and how MMSUP's shares are learned is "
    "not told; docs/methods.md says what was chosen."
)
FULL = Preset(
    "Conv4 with 64 channels and pooling, 15 queries per class, 30,000 iterations of 5 tasks",
    (0, 1, 2), 600,
    {"train": (), "plain": (), "mmsup": ()},
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A mixture of two kinds of pictures.

    `kinds` are its parts in their order, each with the settings of a learner of that kind alone; `sets` are
    every learner's, `own` more for some rows. `printed` has a kind's accuracy of MAML, Multi-MAML, BMP and
    MMSUP. A preset's `sets` are "train", and "mmsup" or for other rows "plain".
    """

    name: str
    title: str
    kinds: Mapping[str, tuple[str, ...]]
    differs: tuple[str, ...]
    presets: Mapping[str, Preset]
    sets: tuple[str, ...] = ()
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    printed: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    remarks: str = ""


def table(case: Case) -> Table:
    """The table of a mixture."""
    return Table(
        name=case.name,
        title=f"GEMS, table 2: {case.title}, 5-way 1-shot, accuracy",
        paper="Generating efficient meta-subnets (supplement). WACV 2023",
        metric="accuracy",
        cells=tuple(_cell(case, row, kind) for row, kind in product(RECIPES, case.kinds)),
        claims=tuple(claim for kind in case.kinds for claim in _claims(kind)),
        differs=(*case.differs, CHOSEN),
        presets=case.presets,
        jobs=partial(_jobs, case),
        needs=case.needs,
        remarks=case.remarks,
    )


def _key(row: str, kind: str) -> str:
    return f"{row}, {kind}"


def _cell(case: Case, row: str, kind: str) -> Cell:
    figures = dict(zip((ONE, OWN, BMP, MMSUP), case.printed.get(kind, ()), strict=False))
    printed = Published(figures[row]) if row in figures else None
    return Cell(_key(row, kind), row, kind, printed, rival=printed is not None and row in (ONE, OWN))


def _claims(kind: str) -> tuple[Claim, ...]:
    one, own, bmp, mmsup, twice = (_key(row, kind) for row in (ONE, OWN, BMP, MMSUP, TWICE))
    return (
        Claim(f"a MAML for each kind above one for both: {kind}", own, one),
        Claim(f"BMP above one MAML for both: {kind}", bmp, one),
        Claim(f"MMSUP above one MAML for both: {kind}", mmsup, one),
        Claim(f"BMP no more than 2 points below Multi-MAML: {kind}", bmp, own, 0.02),
        Claim(f"MMSUP no more than 2 points below Multi-MAML: {kind}", mmsup, own, 0.02),
        Claim(f"BMP above one MAML for both, trained twice as long: {kind}", bmp, twice, published=False),
    )


def _run(case: Case, row: str, kind: str, seed: int, preset: Preset, work: Work) -> Measured:
    name = f"mixture-5w1s-{RECIPES[row]}"
    sets = [*case.sets, *case.own.get(row, ()), *preset.sets["train"]]
    sets += preset.sets["mmsup" if row == MMSUP else "plain"]
    if row == OWN:
        sets += case.kinds[kind]
    recipe = work.recipe(name, seed, sets)
    if row == TWICE:
        recipe = work.recipe(name, seed, sets, [f"iterations={2 * recipe.train.iterations}"])
    run = work.trained(name, recipe)
    made = work.last(run) if row == OWN else _on(work.last(run), list(case.kinds).index(kind))
    steps = range(recipe.learner.steps + 1)
    found = scored(made, preset.episodes, steps, workers=work.workers)
    facts = {"training, CPU seconds": round(work.times()[run.path.name]["cpu_seconds"])}
    return Measured(found[recipe.learner.steps], facts, [(float(n), found[n].mean) for n in steps])


def _on(made: Checkpoint, number: int) -> Checkpoint:
    """The same learner, whose episodes all come from one of the two sources."""
    data = made.recipe["data"]
    return replace(made, recipe={**made.recipe, "data": {**data, "args": {**data["args"], "only": number}}})


def _jobs(case: Case, preset: Preset) -> Sequence[Job]:
    return [
        Job(_key(row, kind), seed, partial(_run, case, row, kind, seed, preset))
        for row, kind, seed in product(RECIPES, case.kinds, preset.seeds)
    ]
