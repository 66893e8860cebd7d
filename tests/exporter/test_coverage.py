"""docs/coverage.md is what the tables say."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from tests.exporter.covered import page as written


def test_the_page_is_up_to_date():
    page = Path(__file__).parents[2] / "docs" / "coverage.md"
    if not page.parent.is_dir():
        pytest.skip("no docs beside an installed package")
    assert page.read_text() == written()
