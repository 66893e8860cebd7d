"""A data folder and a cache of a test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from regrow.datasets import prepare


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder that the sources look into."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("REGROW_DATA", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prepare.opened.cache_clear()
    return folder
