"""PAMELA's classification of CIFAR-FS: its own row, and those it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

from benchmarks.papers.measure import walked
from benchmarks.papers.table import Cell, Chart, Claim, Job, Measured, Preset, Published, Table
from benchmarks.papers.work import Work

# row -> recipe, settings, and what the paper prints for one and for five shots
ROWS: dict[str, tuple[str, tuple[str, ...], Published, Published]] = {
    "MAML, 5 steps": ("cifar-5w1s-maml", (), Published(0.589, 0.019), Published(0.715, 0.019)),
    "FOMAML, 5 steps": ("cifar-5w1s-fomaml", (), Published(0.556, 0.009), Published(0.702, 0.007)),
    "Meta-SGD, 1 step": ("cifar-5w1s-meta-sgd", (), Published(0.569, 0.009), Published(0.701, 0.007)),
    "PAMELA, n 5, w 2": ("cifar-5w1s-pamela", (), Published(0.635, 0.009), Published(0.791, 0.007)),
}
# Rates of five steps that MAML is not held to in the paper.
FAST = "MAML, 5 steps of 0.1"
CONTROLS: dict[str, tuple[str, tuple[str, ...]]] = {FAST: ("cifar-5w1s-maml", ("rule.args.lr=0.1",))}
PAMELA = "PAMELA, n 5, w 2"


def _key(row: str, shots: int) -> str:
    return f"{row}, {shots}-shot"


def _cells() -> tuple[Cell, ...]:
    printed = [
        Cell(_key(row, k), row, f"5-way {k}-shot", figure, rival=row != PAMELA)
        for row, (_, _, one, five) in ROWS.items()
        for k, figure in ((1, one), (5, five))
    ]
    return (*printed, *(Cell(_key(row, 1), row, "5-way 1-shot") for row in CONTROLS))


def _claims() -> tuple[Claim, ...]:
    orders = [
        Claim(f"PAMELA above {row}, {k}-shot", _key(PAMELA, k), _key(row, k))
        for k, row in product((1, 5), ROWS)
        if row != PAMELA
    ]
    fast = Claim("PAMELA above MAML at ten times its rate", _key(PAMELA, 1), _key(FAST, 1), published=False)
    return (*orders, fast)


def _run(row: str, shots: int, seed: int, preset: Preset, work: Work) -> Measured:
    name, sets = CONTROLS[row] if row in CONTROLS else ROWS[row][:2]
    recipe = work.recipe(name, seed, preset.sets["train"], sets, (f"k_shot={shots}",))
    run = work.trained(name, recipe)
    return walked(work.last(run), preset.episodes, work.workers)


def _jobs(preset: Preset) -> Sequence[Job]:
    shots = (1, 5) if preset.sets.get("five") else (1,)
    asked = [*product(ROWS, shots), *((row, 1) for row in CONTROLS)]
    return [
        Job(_key(row, k), seed, partial(_run, row, k, seed, preset))
        for (row, k), seed in product(asked, preset.seeds)
    ]


TABLE = Table(
    name="pamela_cifar",
    title="PAMELA on CIFAR-FS, accuracy",
    paper="Rajasegaran et al.: Meta-learning the learning trends shared across tasks. 2020",
    metric="accuracy",
    cells=_cells(),
    claims=_claims(),
    differs=(
        "The paper names neither iterations nor a schedule; ours is a cosine. The rows of MAML, FOMAML and "
        "Meta-SGD in the paper are literature's figures, here they are trained as PAMELA is.",
        "Batch norm takes the support set's statistics, never the queries'.",
    ),
    presets={
        "cpu": Preset(
            "Conv4 with 32 channels and strides, 5 queries per class, 1,200 iterations of 4 tasks", (0,), 600,
            {"train": (
                "backbone.args.width=32", "backbone.args.downsample=stride", "queries=5",
                "iterations=1200", "validation.every=600", "validation.queries=5",
            )},
        ),
        "gpu": Preset(
            "Conv4 with 64 channels and pooling, 15 queries per class, 60,000 iterations of 4 tasks",
            (0,), 600,
            {"train": (), "five": ("yes",)},
        ),
    },
    jobs=_jobs,
    charts=(Chart("steps", "steps", curves={row: _key(row, 1) for row in (*ROWS, *CONTROLS)}),),
)  # fmt: skip
