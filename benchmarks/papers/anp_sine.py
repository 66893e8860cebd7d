"""ANP on sine waves: its order of methods where networks are small and seeds are cheap, MAML, 1-40-40-1."""

from __future__ import annotations

from functools import partial

from benchmarks.papers import anp
from benchmarks.papers.table import Claim, Preset, Table

CASE = anp.Case(
    label="sine-{}{}", recipe="sine-maml", rows=anp.rows(128, one_task=False), sparsities=(50, 60, 70, 80)
)
TABLE = Table(
    name="anp_sine",
    title="ANP on sine waves",
    paper=f"{anp.PAPER}: its order of methods",
    metric="mse",
    cells=anp.cells(CASE),
    claims=tuple(
        Claim(f"ANP is better than {CASE.rows[rival].words} ({percent} %)",
              f"{percent}/anp", f"{percent}/{rival}", published=False)
        for percent in CASE.sparsities for rival in ("magnitude", "l-obs", "l-obs-1")
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
    jobs=partial(anp.jobs, CASE),
    charts=(anp.chart(CASE),),
)  # fmt: skip
