"""ANP on sine waves: its order of methods where networks are small and seeds are cheap, by three learners."""

from __future__ import annotations

from functools import partial

from benchmarks.papers import anp
from benchmarks.papers.table import Claim, Preset, Table

SPARSITIES = (50, 60, 70, 80)


def _preset(
    says: str, seeds: int, episodes: int, base: int, retrain: int, every: int, percent: tuple[int, ...]
) -> Preset:
    return Preset(
        says, tuple(range(seeds)), episodes,
        {
            "base": (f"train.iterations={base}", f"validation.every={every}"),
            "retrain": (f"train.iterations={retrain}",),
        },
        {"percent": tuple(map(str, percent))} if percent != SPARSITIES else {},
    )  # fmt: skip


def _table(learner: str, tables: str, cpu: Preset, gpu: Preset, *differs: str, remarks: str = "") -> Table:
    """By `learner`, as in the paper's `tables`."""
    name = "" if learner == "MAML" else f"-{learner.lower()}"
    case = anp.Case(
        label=f"sine{name}-{{}}{{}}",
        recipe=f"sine-{learner.lower()}",
        rows=anp.rows(128, one_task=False),
        sparsities=SPARSITIES,
    )
    return Table(
        name=f"anp_sine{name.replace('-', '_')}",
        title=f"ANP on sine waves, {learner}",
        paper=f"{anp.PAPER}: the order of methods of tables {tables}",
        metric="mse",
        cells=anp.cells(case),
        claims=tuple(
            Claim(f"ANP is better than {case.rows[rival].words} ({percent} %)",
                  f"{percent}/anp", f"{percent}/{rival}", published=False)
            for percent in SPARSITIES for rival in ("magnitude", "l-obs", "l-obs-1")
        ),
        differs=("Sine waves, ten points each, in place of images; the head is not pruned.", *differs),
        presets={"cpu": cpu, "gpu": gpu},
        jobs=partial(anp.jobs, case),
        charts=(anp.chart(case),),
        remarks=remarks,
    )  # fmt: skip


MAML = _table(
    "MAML", "2 to 7",
    _preset("about eight minutes of one core, three seeds", 3, 600, 2000, 600, 2000, SPARSITIES),
    _preset("20,000 and 8,000 iterations, eight seeds", 8, 1000, 20000, 8000, 1000, SPARSITIES),
    remarks="Retrained alike, ANP is ahead of magnitude where three seeds tell them apart, and level with "
    "both kinds of L-OBS: seeds differ by more than these methods do. Networks are trained for a tenth of "
    "the full preset's length, which is the first thing to change.",
)  # fmt: skip
CAVIA = _table(
    "CAVIA", "8 and 9",
    _preset("about five minutes of one core, three seeds", 3, 600, 2000, 600, 2000, (80, 50)),
    _preset("20,000 and 8,000 iterations, eight seeds", 8, 1000, 20000, 8000, 1000, SPARSITIES),
    "No weight moves on the device but five numbers beside the input.",
    remarks="ANP's error is the lowest at both sparsities, by more than under MAML; three seeds tell "
    "that from chance in one comparison alone.",
)  # fmt: skip
REPTILE = _table(
    "Reptile", "10 and 11",
    _preset("about an hour of one core, three seeds", 3, 600, 10000, 3000, 10000, (80, 50)),
    _preset("60,000 and 20,000 iterations, eight seeds", 8, 1000, 60000, 20000, 1000, SPARSITIES),
)  # fmt: skip
TABLES = (MAML, CAVIA, REPTILE)
