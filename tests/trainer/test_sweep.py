"""A sweep's arithmetic and drawing, the search for a size, and both as typed on a tiny network."""

import argparse
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("torch")
pytest.importorskip("pydantic")
pytest.importorskip("onnxruntime")

from regrow.cli import main
from regrow.errors import BudgetError, RegrowError
from regrow_trainer import sweep, target
from regrow_trainer.svg import ticks
from regrow_trainer.sweep import Point
from regrow_trainer.sweep_page import draw, page

DROP = {"mean": -0.02, "low": -0.05, "high": 0.01, "episodes": 9, "real": False}


def point(accuracy: float, size: int, ms: float) -> Point:
    return Point(0.5, accuracy, 0.01, DROP, size, ms)


@pytest.mark.parametrize("text", ["", "0.5,x", "1.0", "-0.1,0.5", "0"])
def test_a_list_that_is_none(text: str) -> None:
    with pytest.raises(RegrowError, match="expected shares"):
        sweep.parse(text)


def test_the_dense_network_is_in_every_sweep() -> None:
    assert sweep.parse("0.9,0.5, 0.5") == [0.0, 0.5, 0.9]


def test_the_front_is_whom_no_other_beats() -> None:
    points = [
        point(0.90, 100, 5.0),
        point(0.89, 50, 5.0),
        point(0.88, 50, 5.0),  # beaten by the one before
        point(0.80, 50, 4.0),
        point(0.80, 50, 4.0),  # equals do not beat each other
        point(0.70, 120, 6.0),  # beaten by all
    ]
    assert [p.pareto for p in sweep.front(points)] == [True, True, False, True, True, False]


def record(metric: str = "accuracy") -> dict[str, Any]:
    made = [point(0.9, 100_000, 5.0)._replace(sparsity=0.0, drop=None), point(0.85, 40_000, 3.0)]
    return {
        "checkpoint": "a", "method": "<anp>", "channels": False, "metric": metric,
        "points": [p._asdict() for p in sweep.front(made)],
        "machine": {"cpu": "a & b", "cores": 2, "date": "today"},
    }  # fmt: skip


@pytest.mark.parametrize("metric", ["accuracy", "mse"])
def test_the_picture_is_well_formed_and_marks_the_front(metric: str) -> None:
    root = ElementTree.fromstring(draw(record(metric)))
    circles = [e for e in root.iter() if e.tag.endswith("circle")]
    assert len(circles) == 3 * 2
    assert all("mark" in str(c.get("fill")) for c in circles)
    inside = [float(str(c.get("cy"))) for c in circles]
    assert max(inside) < 250
    assert min(inside) > 0


def test_the_page_says_what_it_shows_and_escapes_it() -> None:
    text = page(record())
    assert "&lt;anp&gt;" in text
    assert "a &amp; b" in text
    assert "90.00 %" in text
    assert "-2.00 (may be chance)" in text
    assert text.count('<tr class="front">') == 2


@pytest.mark.parametrize("values", [[0.0, 0.0], [3.0, 3.0], [-0.2, 0.7], [55.1, 88.9], [0.001, 120.0]])
def test_marks_enclose_all_values_and_are_few(values: list[float]) -> None:
    marks = ticks(values)
    assert marks[0] <= min(values)
    assert marks[-1] >= max(values)
    assert 2 <= len(marks) <= 8


def sizes(share: float) -> int:
    """Nearly a line, as packed bundles are, with steps."""
    return 10_000 + int(90_000 * (1 - share) ** 1.05) // 64 * 64


@pytest.mark.parametrize("limit", [10_700, 20_000, 55_555, 99_000])
def test_the_smallest_share_that_fits_is_found_in_few_trials(limit: int) -> None:
    tried: list[float] = []

    def size(share: float) -> int:
        tried.append(share)
        return sizes(share)

    share = target.find(size, limit)
    assert sizes(share) <= limit
    assert sizes(share - 0.004) > limit
    assert len(tried) <= 14


def test_sizes_without_a_search() -> None:
    assert target.find(sizes, 1_000_000) == 0.0
    with pytest.raises(BudgetError, match=r"99\.5% of the weights gone"):
        target.find(sizes, 9_000)


def test_a_point_is_four_commands_that_a_person_could_type() -> None:
    args = argparse.Namespace(
        checkpoint="base.safetensors", out=Path("out"), method="anp", scope="layer", schedule="iterative:0.1",
        retrain=7, channels=True, rewind=False, device_scope=None, workers=2, set=["train.tasks=3"],
        device="cpu", memory_limit=2_000_000_000,
        episodes=9,
        queries=4, repeat=3,
    )  # fmt: skip
    commands = [step.command for step in sweep.steps(args, 0.85)]
    assert [c[0] for c in commands] == ["prune", "export", "compare", "bench"]
    assert " ".join(commands[0]) == (
        "prune base.safetensors --sparsity 0.85 --method anp --scope layer --schedule iterative:0.1 "
        "--retrain 7 -o out/85-percent --channels --device cpu --workers 2 "
        "--memory-limit 2000000000 --set train.tasks=3"
    )
    assert "--channels" not in sweep.steps(args, 0.0)[0].command


TINY = """
name = "tiny"
[data]
train = "glyphs:train"
validation = "glyphs:val"
test = "glyphs:test"
args = { classes = 8, samples = 6 }
n_way = 3
queries = 2
[backbone]
name = "mlp"
args = { hidden = [16] }
[train]
iterations = 1
tasks = 2
[validation]
every = 1
episodes = 2
queries = 2
"""


@pytest.mark.slow
def test_a_sweep_and_a_size_as_typed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe, base, out = tmp_path / "tiny.toml", tmp_path / "base", tmp_path / "sweep"
    recipe.write_text(TINY)
    assert main(["train", str(recipe), "-o", str(base)]) == 0
    start = str(base / "best.safetensors")
    line = ["prune", start, "--sweep", "0.8", "--episodes", "4", "--queries", "2", "--repeat", "2"]
    capfd.readouterr()
    assert main([*line, "-o", str(out), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    dense, pruned = told["points"]
    assert dense["drop"] is None
    assert pruned["drop"]["episodes"] == 4
    assert pruned["bytes"] < dense["bytes"]
    assert dense["pareto"] or pruned["pareto"]
    assert {p.name for p in out.iterdir()} >= {"sweep.json", "sweep.svg", "sweep.html"}
    assert main([*line, "-o", str(out)]) == 2
    assert main([*line, "-o", str(out), "--resume"]) == 0

    limit = (pruned["bytes"] + dense["bytes"]) // 2
    line = ["prune", start, "--target-bytes", str(limit), "--retrain", "1", "-o", str(tmp_path / "fit")]
    capfd.readouterr()
    assert main([*line, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["bytes"] == Path(told["bundle"]).stat().st_size <= limit
    assert 0 < told["sparsity"] < 0.8
    assert main(line) == 2
