"""Small weights go first."""

from __future__ import annotations

from regrow_trainer.tensors import Tensors


def magnitude(weights: Tensors) -> Tensors:
    """|w|."""
    return {name: w.detach().abs() for name, w in weights.items()}
