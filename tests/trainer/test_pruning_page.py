"""docs/pruning.md says what the record says, and its words follow the figures."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("torch")
pytest.importorskip("pydantic")

from benchmarks import pruners_page

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
RECORD: dict[str, Any] = json.loads((RESULTS / "pruners.json").read_text())


def test_page_and_pictures_are_those_of_the_record(tmp_path: Path) -> None:
    names = (pruners_page.PAGE, pruners_page.CURVES, pruners_page.MAPS)
    found = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in names]
    (tmp_path / pruners_page.PAGE).write_text(found[0])
    pruners_page.write_page(RECORD, tmp_path, RESULTS)
    for name, text in zip(names, found, strict=True):
        made = (tmp_path / name).read_text(encoding="utf-8")
        assert made == text, (
            f"{name}: run python -m benchmarks.pruners --page benchmarks/results/pruners.json"
        )
        if name.endswith("svg"):
            ElementTree.fromstring(made)


def row(mean: float, low: float, high: float) -> dict[str, Any]:
    return {"mean": mean, "low": low, "high": high, "real": not low <= 0 <= high}


@pytest.mark.parametrize(
    ("dense", "rival", "words"),
    [
        (row(-0.004, -0.01, 0.0), row(0.02, 0.01, 0.03), ["within one point of", "better than L-OBS"]),
        (row(-0.05, -0.06, -0.04), row(0.001, -0.01, 0.01), ["5.0 points below", "catches up"]),
        (row(-0.05, -0.06, -0.04), row(-0.02, -0.03, -0.01), ["worse than L-OBS"]),
    ],
)
def test_the_verdict_follows_the_figures(
    dense: dict[str, Any], rival: dict[str, Any], words: list[str]
) -> None:
    rows = {"ANP@0.85": {"mean": 0.8, "against": {"dense": dense, "L-OBS": rival}}, "x@0.85": {"mean": 0.9}}
    said = pruners_page._verdict(rows)
    assert all(w in said for w in words)
    assert said.endswith("The most accurate at 85 % is x.")
