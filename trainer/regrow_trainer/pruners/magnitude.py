"""Small weights go first."""

from __future__ import annotations

from regrow_trainer.pruners import Evidence, Judgement


def magnitude(evidence: Evidence) -> Judgement:
    """|w|."""
    return Judgement({name: w.detach().abs() for name, w in evidence.weights.items()})
