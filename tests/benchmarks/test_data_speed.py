"""How fast episodes are drawn: the page holds what was recorded, and what is measured fits its columns."""

import json
from pathlib import Path

import pytest

from benchmarks import data_speed
from regrow.datasets import prepare
from tests.runtime.datasets import official


def test_the_page_holds_the_recorded_figures() -> None:
    record = json.loads(data_speed.RECORD.read_text(encoding="utf-8"))
    text = data_speed.PAGE.read_text(encoding="utf-8")
    assert data_speed.replaced(text, record) == text, "run python -m benchmarks.data_speed --page"


def test_a_source_with_few_samples_is_asked_for_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(data_speed, "SECONDS", 0.01)
    prepare.opened.cache_clear()
    official.digits_packed(tmp_path / "fsdd_8k.npz", official.digits(takes=8))
    row = data_speed.measure("fsdd")
    assert (row["source"], row["queries"], row["sample_shape"]) == ("fsdd:train", 5, [1, 50, 40])
    assert row["episodes_per_second"] > 0
