"""The papers' tables: the rule that judges them, the tables as data, and the runner on a table of seconds."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from benchmarks.papers import __main__ as papers
from benchmarks.papers import judge, page
from benchmarks.papers.table import Cell, Metric, Published, Table
from benchmarks.papers.tables import TABLES, find
from regrow.datasets import catalog
from regrow.errors import RegrowError
from regrow.evaluate import Evaluation

RECORDED = [t for t in TABLES if page.read(t) is not None]


def around(mean: float, half: float) -> judge.Interval:
    return judge.Interval(mean, mean - half, mean + half)


@pytest.mark.parametrize(
    ("mean", "half", "metric", "cell", "status"),
    [
        (0.9601, 0.003, "accuracy", {}, "reproduced"),  # 0.02 away: 0.003 and 0.002 are noise, 0.015 allowed
        (0.9599, 0.003, "accuracy", {}, "partly"),
        (0.930, 0.003, "accuracy", {}, "partly"),  # 0.045 beyond both spreads
        (0.929, 0.003, "accuracy", {}, "not reproduced"),
        (0.9479, 0.5, "accuracy", {}, "partly"),  # of an interval that holds everything 0.015 counts
        (0.917, 0.5, "accuracy", {}, "not reproduced"),
        (0.999, 0.0, "accuracy", {}, "reproduced"),
        (0.999, 0.0, "accuracy", {"rival": True}, "partly"),  # 0.017 beyond the spread
        (1.5, 0.0, "mse", {}, "not reproduced"),
        (0.5, 0.0, "mse", {}, "reproduced"),
        (0.5, 0.0, "mse", {"rival": True}, "not reproduced"),
        (0.98, 0.0, "accuracy", {"comparable": False}, "ours"),
        (0.98, 0.0, "accuracy", {"published": None}, "ours"),
    ],
)
def test_a_cell_is_judged_by_its_distance(
    mean: float, half: float, metric: Metric, cell: dict[str, Any], status: str
) -> None:
    made = replace(Cell("k", "row", "column", Published(0.98, 0.002)), **cell)
    assert judge.status(made, around(mean, half), 0.015, metric) == status
    assert judge.status(made, None, 0.015, metric) == "not run"


@pytest.mark.parametrize(
    ("low", "high", "margin", "metric", "verdict"),
    [
        (-0.009, 0.002, 0.01, "accuracy", "holds"),
        (-0.011, 0.002, 0.01, "accuracy", "open"),
        (-0.030, -0.011, 0.01, "accuracy", "fails"),
        (0.0, 0.1, 0.0, "accuracy", "holds"),
        (-0.2, -0.1, 0.0, "mse", "holds"),
        (0.1, 0.2, 0.0, "mse", "fails"),
    ],
)
def test_a_claim_is_judged_by_the_whole_interval(
    low: float, high: float, margin: float, metric: Metric, verdict: str
) -> None:
    assert judge.verdict(judge.Interval((low + high) / 2, low, high), margin, metric) == verdict


def test_seeds_that_disagree_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    scores = {s: Evaluation(m + 0.01 * generator.normal(size=400)) for s, m in enumerate((0.8, 0.9, 1.0))}
    found = judge.ours(scores)
    means = [e.mean for e in scores.values()]
    assert found.half_width == pytest.approx(4.303 * np.std(means, ddof=1) / math.sqrt(3))
    alone = judge.ours({0: scores[0]})
    assert alone.half_width == pytest.approx(scores[0].half_width)
    assert alone.half_width < 0.002
    better = {s: Evaluation(e.scores + 0.05) for s, e in scores.items()}
    # What both have in common falls away: every seed is better by as much.
    assert judge.gap(better, scores).low == pytest.approx(0.05)
    uneven = {s: Evaluation(e.scores + 0.05 * s) for s, e in scores.items()}
    assert judge.verdict(judge.gap(uneven, scores), 0.0, "accuracy") == "open"


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_a_table_is_whole(table: Table) -> None:
    keys = [c.key for c in table.cells]
    assert len(set(keys)) == len(keys) > 3
    assert len({(c.grid, c.row, c.column) for c in table.cells}) == len(keys)
    named = {key for claim in table.claims for key in (claim.first, claim.second)}
    named |= {k for chart in table.charts for line in chart.lines.values() for _, k in line}
    named |= {key for chart in table.charts for key in chart.curves.values()}
    assert named <= set(keys)
    for preset in table.presets.values():
        jobs = [(j.key, j.seed) for j in table.jobs(preset)]
        assert len(set(jobs)) == len(jobs)
        assert {key for key, _ in jobs} <= set(keys)
        assert {seed for _, seed in jobs} >= set(preset.seeds)  # some rows have more of their own


def test_every_name_is_one_table() -> None:
    assert len({t.name for t in TABLES}) == len(TABLES)
    assert find(TABLES[0].name) is TABLES[0]
    with pytest.raises(RegrowError, match="no table 'x', expected one of meta_lth_omniglot"):
        find("x")


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_a_run_has_a_full_preset_and_most_have_a_short_one(table: Table) -> None:
    assert set(table.presets) == ({"gpu"} if table.needs else {"cpu", "gpu"})
    assert all(catalog.DATASETS[name].citation for name in table.needs)
    assert table.differs


def test_the_command_lists_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert papers.main([]) == 0
    assert all(t.name in capsys.readouterr().out for t in TABLES[:1])
    assert papers.main(["nothing"]) == 1
    assert "expected one of" in capsys.readouterr().err


def test_the_page_is_that_of_the_records(tmp_path: Path) -> None:
    page.write_page(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        own = page.DOCS / path.name
        assert own.read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), (
            f"{path.name}: run python -m benchmarks.papers --page"
        )
    assert {p.name for p in page.DOCS.glob("papers-*.svg")} <= {p.name for p in tmp_path.iterdir()}


@pytest.mark.parametrize("table", RECORDED, ids=lambda t: t.name)
def test_recorded_statuses_follow_from_recorded_figures(table: Table) -> None:
    made = page.read(table)
    assert made is not None
    recorded = json.loads((page.RESULTS / f"{table.name}.json").read_text(encoding="utf-8"))["cells"]
    assert {key for key, cell in recorded.items() if "mean" in cell} <= set(made["cells"])
    assert made["machine"]["commit"]
    assert made["settings"]["seeds"]
    for cell in table.cells:
        figure = made["cells"][cell.key]
        found = judge.Interval(*(figure[k] for k in ("mean", "low", "high"))) if "mean" in figure else None
        assert figure["status"] == judge.status(cell, found, table.tolerance, table.metric), cell.key
        assert figure["published"] == (cell.published.value if cell.published else None)
    for claim, finding in zip(table.claims, made["claims"], strict=True):
        found = judge.Interval(*(finding[k] for k in ("mean", "low", "high"))) if "mean" in finding else None
        assert finding["says"] == claim.says
        assert finding["verdict"] == judge.verdict(found, claim.margin, table.metric)
