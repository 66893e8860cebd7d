"""GEMS' table 2: one learner for two kinds of pictures, against one for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product

from benchmarks.papers.measure import scored
from benchmarks.papers.table import Cell, Claim, Job, Measured, Preset, Published, Table
from benchmarks.papers.work import Work
from regrow.checkpoint import Checkpoint

KINDS = ("characters", "photographs")
ONE, OWN, BMP, MMSUP = "MAML for both", "Multi-MAML", "BMP", "MMSUP"
TWICE = "MAML for both, twice as long"
RECIPES = {ONE: "maml", OWN: "maml", BMP: "bmp", MMSUP: "mmsup", TWICE: "maml"}
# mixture -> the kinds of pictures in it, and for each what the paper prints: one MAML, Multi-MAML, BMP, MMSUP
PUBLISHED: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "CUB-200 + Aircraft": {"CUB-200": (0.468, 0.533, 0.528, 0.545), "Aircraft": (0.309, 0.399, 0.428, 0.397)},
    "VGG Flowers + Aircraft": {
        "VGG Flowers": (0.656, 0.728, 0.738, 0.722),
        "Aircraft": (0.342, 0.399, 0.448, 0.414),
    },
    "Fungi + Aircraft": {"Fungi": (0.372, 0.424, 0.437, 0.393), "Aircraft": (0.324, 0.399, 0.438, 0.427)},
}


def _key(row: str, kind: str) -> str:
    return f"{row}, {kind}"


def _cells() -> tuple[Cell, ...]:
    own = [Cell(_key(row, kind), row, kind) for row, kind in product(RECIPES, KINDS)]
    printed = [
        Cell(f"{mix}: {_key(row, kind)}", row, kind, Published(figure), rival=row in (ONE, OWN), grid=mix)
        for mix, kinds in PUBLISHED.items()
        for kind, figures in kinds.items()
        for row, figure in zip((ONE, OWN, BMP, MMSUP), figures, strict=True)
    ]
    return (*own, *printed)


def _claims() -> tuple[Claim, ...]:
    made = []
    for kind in KINDS:
        one, own, bmp, mmsup, twice = (_key(row, kind) for row in (ONE, OWN, BMP, MMSUP, TWICE))
        made += [
            Claim(f"a MAML for each kind above one for both: {kind}", own, one),
            Claim(f"BMP above one MAML for both: {kind}", bmp, one),
            Claim(f"MMSUP above one MAML for both: {kind}", mmsup, one),
            Claim(f"BMP no more than 2 points below Multi-MAML: {kind}", bmp, own, 0.02),
            Claim(f"MMSUP no more than 2 points below Multi-MAML: {kind}", mmsup, own, 0.02),
            Claim(f"BMP above one MAML for both, trained twice as long: {kind}", bmp, twice, published=False),
        ]
    return tuple(made)


def _run(row: str, number: int, seed: int, preset: Preset, work: Work) -> Measured:
    name = f"mixture-5w1s-{RECIPES[row]}"
    sets = [*preset.sets["train"], *preset.sets["mmsup" if row == MMSUP else "plain"]]
    if row == OWN:
        sets.append(f"data.args.only={number}")
    recipe = work.recipe(name, seed, sets)
    if row == TWICE:
        recipe = work.recipe(name, seed, sets, [f"iterations={2 * recipe.train.iterations}"])
    run = work.trained(name, recipe)
    steps = range(recipe.learner.steps + 1)
    found = scored(_on(work.last(run), number), preset.episodes, steps, workers=work.workers)
    facts = {"training, CPU seconds": round(work.times()[run.path.name]["cpu_seconds"])}
    return Measured(found[recipe.learner.steps], facts, [(float(n), found[n].mean) for n in steps])


def _on(made: Checkpoint, number: int) -> Checkpoint:
    """The same learner, whose episodes all come from one of the two sources."""
    data = made.recipe["data"]
    return replace(made, recipe={**made.recipe, "data": {**data, "args": {**data["args"], "only": number}}})


def _jobs(preset: Preset) -> Sequence[Job]:
    return [
        Job(_key(row, kind), seed, partial(_run, row, KINDS.index(kind), seed, preset))
        for row, kind, seed in product(RECIPES, KINDS, preset.seeds)
    ]


TABLE = Table(
    name="gems_mixture",
    title="GEMS, table 2: two kinds of pictures, 5-way 1-shot, accuracy",
    paper="Generating efficient meta-subnets (supplement). WACV 2023",
    metric="accuracy",
    cells=_cells(),
    claims=_claims(),
    differs=(
        "CUB-200, VGG Flowers, Fungi and Aircraft are absent: Omniglot characters and CIFAR-FS photographs, "
        "in grey at 28 x 28, stand in, so that the claims can be held side by side and no figure can.",
        "Inner steps of 0.1 and an outer rate of 1e-3, where the paper has 0.01 and 1e-4.",
        "What BMP's input is multiplied by, how wide its output is, and how MMSUP's shares are learned is "
        "not told; docs/methods.md says what was chosen.",
    ),
    presets={
        "cpu": Preset(
            "Conv4 with 16 channels and strides, 5 queries per class, 1,000 iterations of 5 tasks", (0,), 600,
            {
                "train": ("queries=5", "iterations=1000", "validation.every=500", "validation.queries=5"),
                "plain": ("backbone.args.width=16", "backbone.args.downsample=stride"),
                "mmsup": ("backbone.args.args.width=16", "backbone.args.args.downsample=stride"),
            },
        ),
        "gpu": Preset(
            "Conv4 with 64 channels and pooling, 15 queries per class, 30,000 iterations of 5 tasks",
            (0, 1, 2), 600,
            {"train": (), "plain": (), "mmsup": ()},
        ),
    },
    jobs=_jobs,
)  # fmt: skip
