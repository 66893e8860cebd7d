"""Weights go by lot: the control that every other pruner has to beat."""

from __future__ import annotations

import torch

from regrow_trainer.pruners import Evidence, Judgement


def random(evidence: Evidence) -> Judgement:
    """Scores drawn from the recipe's seed, the same in every round, so that rounds are nested."""
    generator = torch.Generator().manual_seed(evidence.seed)
    return Judgement({n: torch.rand(w.shape, generator=generator) for n, w in evidence.weights.items()})
