"""Small weights go first."""

from __future__ import annotations

from regrow_trainer.pruners import Evidence
from regrow_trainer.tensors import Tensors


def magnitude(evidence: Evidence) -> Tensors:
    """|w|."""
    return {name: w.detach().abs() for name, w in evidence.weights.items()}
