"""What a run writes down while it goes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow.errors import UnsupportedError
from regrow_trainer import metrics
from regrow_trainer.training import train


def test_tensorboard_is_an_extra(
    make_recipe: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="pip install tensorboard"):
        train(make_recipe("sine"), tmp_path / "run", tensorboard=True)
