"""The demo's page, from canned results: every section, nothing fetched, hostile names escaped."""

import base64
import re
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import numpy as np
import pytest

from regrow.demo import page
from regrow.demo.pictures import data_uri, picture
from regrow.demo.results import Accuracy, Estimate, Peer, Picture, Range, Results

CHARTS = {
    name: f"<svg><title>{name}</title></svg>"
    for name in ("accuracy", "learning", "size", "latency", "memory")
}


def estimate(mean: float) -> Estimate:
    return {"mean": mean, "half_width": 0.01}


def spread(median: float) -> Range:
    return {"median": median, "low": 0.9 * median, "high": 1.1 * median}


def drawn(label: str, predicted: str | None = None) -> Picture:
    return picture(np.arange(6, dtype=np.float32).reshape(1, 2, 3) / np.float32(255), label, predicted)


def accuracy(model: str, shots: int, after: float) -> Accuracy:
    return {
        "model": model,
        "shots": shots,
        "episodes": 200,
        "before": estimate(0.2),
        "after": estimate(after),
        "controls": {"nearest pixel": estimate(0.5)},
    }


def peer(name: str) -> Peer:
    return {
        "name": name,
        "adapt_ms": spread(12.5),
        "predict_ms": spread(0.5),
        "cold_ms": spread(1234.5),
        "above_import_bytes": spread(20e6),
        "peak_bytes": spread(90e6),
    }


@pytest.fixture
def results() -> Results:
    return {
        "format": 1,
        "date": "2026-11-21",
        "commit": None,
        "machine": {"processor": "<Core & Co>", "cores": "2"},
        "versions": {"regrow": "0.1.0"},
        "n_way": 5,
        "support": 5,
        "recipe": "glyphs",
        "iterations": 700,
        "accuracy": [
            accuracy("dense", 1, 0.92),
            accuracy("pruned", 1, 0.91),
            accuracy("dense", 5, 0.98),
            accuracy("pruned", 5, 0.97),
        ],
        "curves": [
            {
                "model": "dense",
                "points": [{"iteration": i, "accuracy": 0.2 + i / 1e3} for i in (0, 700)],
            },
            {"model": "pruned", "points": [{"iteration": i, "accuracy": 0.9} for i in (500, 700)]},
        ],
        "episode": {
            "shots": 1,
            "support": [drawn("ka"), drawn("<b>")],
            "queries": [drawn("ka", "ka"), drawn("<b>", "ka")],
        },
        "sizes": {
            "onnx_dense": 460_000,
            "bundle_dense": 450_000,
            "bundle_pruned": 92_000,
            "weights": 1000,
            "kept": 150,
        },
        "peers": [peer("regrow (onnx)"), peer("torch")],
        "torch_free": True,
        "seconds": {"train": 100.0, "export": 20.0},
        "commands": ["regrow demo --out 'my demo'"],
    }


def test_every_section_is_there(results: Results) -> None:
    html = page.render(results, CHARTS)
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    assert titles == [
        "What it was shown, and what it then saw",
        "Accuracy, before and after",
        "Learning to learn",
        "Size",
        "Time and memory",
        "Where the figures come from",
    ]
    assert all(f"<title>{name}</title>" in html for name in CHARTS)


def test_the_page_fetches_nothing(results: Results) -> None:
    html = page.render(results, CHARTS)
    assert "<script" not in html
    assert "@import" not in html
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', html) == []
    assert re.findall(r"url\((?!#)[^)]*\)", html) == []


def test_the_headline_is_computed_from_the_results(results: Results) -> None:
    html = page.render(results, CHARTS)
    assert "85% of its weights pruned" in html
    assert "91.0 %" in html
    assert "5.0 x" in html
    assert "120 s of work" in html


def test_right_and_wrong_predictions_are_marked(results: Results) -> None:
    html = page.render(results, CHARTS)
    assert html.count('class="sample right"') == 1
    assert html.count('class="sample wrong"') == 1
    assert "predicted: 1 are right" in html


def test_names_from_files_are_escaped(results: Results) -> None:
    html = page.render(results, CHARTS)
    assert "&lt;Core &amp; Co&gt;" in html
    assert "<Core" not in html
    assert "<b><b>" not in html


def test_every_peer_has_its_figures(results: Results) -> None:
    rows = re.findall(r"<tr><td>(?:regrow \(onnx\)|torch)</td>.*?</tr>", page.render(results, CHARTS))
    assert len(rows) == 2
    cells = re.findall(r"<td>(.*?)</td>", rows[1])
    assert cells == ["torch", "12.5 (11.2 to 13.8)", "0.5 (0.45 to 0.55)", "1234 (1111 to 1358)", "20", "90"]


def test_the_page_says_when_torch_was_within_reach(results: Results) -> None:
    results["torch_free"] = False
    assert "torch could be imported" in page.render(results, CHARTS)


def test_a_picture_is_a_png_with_dark_ink() -> None:
    png = base64.b64decode(data_uri(drawn("a")).removeprefix("data:image/png;base64,"))
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    start = png.index(b"IDAT") + 4
    rows = zlib.decompress(png[start : png.index(b"IEND") - 8])
    assert rows == bytes([0, 255, 254, 253, 0, 252, 251, 250])


def test_charts_take_their_colours_from_the_page(results: Results, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from regrow.demo import charts

    svgs = charts.draw(results, tmp_path)
    assert set(svgs) == set(CHARTS)
    assert {p.stem for p in tmp_path.glob("*.png")} == {*CHARTS, "episode"}
    for name, svg in svgs.items():
        ET.fromstring(svg.replace("xlink:", ""))
        assert "var(--ink)" in svg, name
        assert not any(colour in svg for colour in charts.COLOURS.values()), name
        assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", svg), name
    assert charts.render(charts.learning(results), "learning", tmp_path) == svgs["learning"]
    html = page.render(results, svgs)
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', html) == []
