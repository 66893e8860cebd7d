"""PAMELA's regression of sine waves, and its ablation. The paper draws both and prints no number."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

from benchmarks.papers.measure import walked
from benchmarks.papers.table import Cell, Chart, Claim, Job, Measured, Preset, Table
from benchmarks.papers.work import Work

# row -> recipe and settings; of the rates, "rule.args.lr" is where they begin
MAIN: dict[str, tuple[str, tuple[str, ...]]] = {
    "MAML, 5 steps": ("sine-maml", ()),
    "Meta-SGD, 1 step": ("sine-meta-sgd", ("steps=1",)),
    "Meta-SGD, 5 steps": ("sine-meta-sgd", ()),
    "PAMELA, n 5, w 2": ("sine-pamela", ()),
}
ABLATION: dict[str, tuple[str, tuple[str, ...]]] = {
    "only Q: rates per step": ("sine-pamela", ("rule.args.w=6",)),
    "only P: mixing with earlier weights": ("sine-pamela", ("rule.args.rates=false",)),
    "MAML, 5 steps of 0.05": ("sine-maml", ("rule.args.lr=0.05",)),
}
SHOTS = (5, 10, 20)
ABLATED = 10
PAMELA = "PAMELA, n 5, w 2"


def _key(row: str, shots: int) -> str:
    return f"{row}, K {shots}"


def _cells() -> tuple[Cell, ...]:
    main = [Cell(_key(row, k), row, f"K = {k}") for row, k in product(MAIN, SHOTS)]
    parts = [
        Cell(_key(row, ABLATED), row, f"K = {ABLATED}", grid="Ablation, and MAML at other rates")
        for row in ABLATION
    ]
    return (*main, *parts)


def _claims() -> tuple[Claim, ...]:
    orders = [
        Claim(f"PAMELA below {row} at K = {k}", _key(PAMELA, k), _key(row, k))
        for k, row in product(SHOTS, MAIN)
        if row != PAMELA
    ]
    whole, maml = _key(PAMELA, ABLATED), _key("MAML, 5 steps", ABLATED)
    only_q, only_p = (_key(row, ABLATED) for row in list(ABLATION)[:2])
    fast = _key("MAML, 5 steps of 0.05", ABLATED)
    one, five = (_key(f"Meta-SGD, {steps}", ABLATED) for steps in ("1 step", "5 steps"))
    return (
        *orders,
        Claim("Q alone improves on MAML", only_q, maml),
        Claim("P improves on Q alone", whole, only_q),
        Claim("P alone improves on MAML", only_p, maml, published=False),
        Claim("five steps of Meta-SGD improve on one", five, one, published=False),
        Claim("PAMELA below MAML at five times its rate", whole, fast, published=False),
        Claim("rates per step below rates that all steps share", only_q, five, published=False),
    )


def _run(row: str, shots: int, seed: int, preset: Preset, work: Work) -> Measured:
    name, sets = (MAIN | ABLATION)[row]
    recipe = work.recipe(name, seed, preset.sets["train"], sets, (f"k_shot={shots}",))
    run = work.trained(name, recipe)
    return walked(work.last(run), preset.episodes, work.workers)


def _jobs(preset: Preset) -> Sequence[Job]:
    asked = [*product(MAIN, SHOTS), *((row, ABLATED) for row in ABLATION)]
    return [
        Job(_key(row, k), seed, partial(_run, row, k, seed, preset))
        for (row, k), seed in product(asked, preset.seeds)
    ]


TABLE = Table(
    name="pamela_sine",
    title="PAMELA on sine waves, mean squared error",
    paper="Rajasegaran et al.: Meta-learning the learning trends shared across tasks. 2020",
    metric="mse",
    cells=_cells(),
    claims=_claims(),
    differs=(
        "The paper draws its figures and prints none, so only orders can be compared.",
        "It does not say which network, how many iterations, nor how P begins: 1-40-40-1, as below, P = 0.",
        "Rates have a learning rate of their own, 1e-4: at the weights' several steps of Meta-SGD diverge.",
    ),
    presets={
        "cpu": Preset(
            "2,000 iterations of 25 waves", (0, 1, 2), 1000,
            {"train": ("iterations=2000", "validation.every=1000")},
        ),
        "gpu": Preset(
            "20,000 iterations of 25 waves", (0, 1, 2, 3, 4), 2000,
            {"train": ("iterations=20000", "validation.every=2000")},
        ),
    },
    jobs=_jobs,
    remarks=(
        "Most of what PAMELA wins over MAML is rates: those of Q, or of Meta-SGD over as many steps, which "
        "the paper has take one. P adds too little to be told from none over three seeds, with a learning "
        "rate of 1e-4 and 2,000 iterations. Five times its rate is no substitute for MAML. Orders that are "
        "open may settle with length, of which this preset has little."
    ),
    charts=(
        Chart("steps", "steps", curves={row: _key(row, ABLATED) for row in MAIN}),
    ),
)  # fmt: skip
