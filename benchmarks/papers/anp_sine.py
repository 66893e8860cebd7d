"""ANP on sine waves: its order of methods where networks are small and seeds are cheap, MAML, 1-40-40-1."""

from __future__ import annotations

from functools import partial

from benchmarks.papers.measure import walked
from benchmarks.papers.table import Cell, Chart, Claim, Job, Measured, Preset, Table
from benchmarks.papers.work import Work
from regrow_trainer.recipe import Prune
from regrow_trainer.rundir import RunDir

RECIPE = "sine-maml"
SPARSITIES = (50, 60, 70, 80)
ROWS = {
    "anp": ("ANP", Prune(pruner="anp", args={"tasks": 128}, sparsity=0)),
    "magnitude": ("magnitude, meta-retrained", Prune(pruner="magnitude", sparsity=0)),
    "l-obs": ("L-OBS on many tasks, meta-retrained", Prune(pruner="l-obs", args={"tasks": 128}, sparsity=0)),
    "l-obs-1": ("L-OBS on one task, meta-retrained", Prune(pruner="l-obs", args={"tasks": 1}, sparsity=0)),
}


def dense(preset: Preset, seed: int, work: Work) -> Measured:
    recipe = work.recipe(RECIPE, seed, preset.sets["base"], preset.sets["retrain"])
    run = work.trained("sine-dense", recipe, _base(preset, seed, work))
    return walked(work.last(run), preset.episodes, work.workers)


def pruned(preset: Preset, seed: int, key: str, percent: int, work: Work) -> Measured:
    recipe = work.recipe(RECIPE, seed, preset.sets["base"], preset.sets["retrain"])
    plan = ROWS[key][1].model_copy(update={"sparsity": percent / 100, "schedule": "iterative:0.1"})
    run = work.trained(f"sine-{key}-{percent}", recipe, _base(preset, seed, work), plan)
    return walked(work.last(run), preset.episodes, work.workers)


def _base(preset: Preset, seed: int, work: Work) -> RunDir:
    return work.trained("sine-base", work.recipe(RECIPE, seed, preset.sets["base"]))


def jobs(preset: Preset) -> list[Job]:
    made = []
    for seed in preset.seeds:
        made.append(Job("0", seed, partial(dense, preset, seed)))
        made += [
            Job(f"{percent}/{key}", seed, partial(pruned, preset, seed, key, percent))
            for percent in SPARSITIES for key in ROWS
        ]  # fmt: skip
    return made


TABLE = Table(
    name="anp_sine",
    title="ANP on sine waves",
    paper="ANP, Pruning meta-trained networks for on-device adaptation (2021): its order of methods",
    metric="mse",
    cells=(
        Cell("0", "dense, as long", "0 %"),
        *(Cell(f"{p}/{key}", words, f"{p} %") for key, (words, _) in ROWS.items() for p in SPARSITIES),
    ),
    claims=tuple(
        Claim(f"ANP is better than {ROWS[rival][0]} ({percent} %)", f"{percent}/anp", f"{percent}/{rival}",
              published=False)
        for percent in SPARSITIES for rival in ("magnitude", "l-obs", "l-obs-1")
    ),
    differs=("Sine waves, ten points each, in place of images; the head is not pruned.",),
    presets={
        "cpu": Preset(
            "about eight minutes of one core, three seeds", (0, 1, 2), 600,
            {
                "base": ("train.iterations=2000", "validation.every=2000"),
                "retrain": ("train.iterations=600",),
            },
        ),
        "gpu": Preset(
            "20,000 and 8,000 iterations, eight seeds", tuple(range(8)), 1000,
            {
                "base": ("train.iterations=20000", "validation.every=1000"),
                "retrain": ("train.iterations=8000",),
            },
        ),
    },
    jobs=jobs,
    charts=(
        Chart("sparsity", "weights removed, %", {
            words: ((0, "0"), *((p, f"{p}/{key}") for p in SPARSITIES)) for key, (words, _) in ROWS.items()
        }),
    ),
)  # fmt: skip
