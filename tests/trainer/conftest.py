"""Recipes that train in a second, for the trainer's tests."""

from collections.abc import Callable
from typing import Any

import pytest

SINE: dict[str, Any] = {
    "name": "tiny-sine",
    "data": {
        "train": "sine:train",
        "validation": "sine:val",
        "test": "sine:test",
        "n_way": 1,
        "k_shot": 5,
        "queries": 5,
    },
    "backbone": {"name": "mlp", "args": {"hidden": [8, 8]}},
    "rule": {"name": "sgd", "args": {"lr": 0.01}},
    "learner": {"steps": 2, "loss": "mse", "batch_norm": "none"},
    "train": {"strategy": "second_order", "iterations": 6, "tasks": 3, "lr": 0.01},
    "validation": {"every": 2, "episodes": 4},
}
GLYPHS: dict[str, Any] = {
    "name": "tiny-glyphs",
    "data": {
        "train": "glyphs:train",
        "validation": "glyphs:val",
        "test": "glyphs:test",
        "args": {"classes": 12, "samples": 6},
        "n_way": 3,
        "queries": 2,
    },
    "backbone": {"name": "conv4", "args": {"width": 6, "depth": 3, "downsample": "stride"}},
    "rule": {"name": "sgd", "args": {"lr": 0.4}},
    "learner": {"adaptable": ["blocks.*"]},
    "train": {"iterations": 4, "tasks": 2, "lr": 0.005},
    "validation": {"every": 2, "episodes": 4, "queries": 2},
}


@pytest.fixture
def make_recipe() -> Callable[..., Any]:
    """`make_recipe("sine", "train.tasks=2")`: a tiny recipe with overrides."""
    pytest.importorskip("pydantic")
    from regrow_trainer.recipe import parse_recipe

    def make(data: str, *overrides: str) -> Any:
        return parse_recipe({"sine": SINE, "glyphs": GLYPHS}[data], f"tiny {data}", overrides)

    return make
