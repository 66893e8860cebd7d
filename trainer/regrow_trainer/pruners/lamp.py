"""Layer-adaptive magnitude: a weight counts relative to the larger ones of its own layer.

Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning" (2021). Meant for scope "global", where
plain magnitude starves layers whose weights happen to be small.
"""

from __future__ import annotations

import torch
from torch import Tensor

from regrow_trainer.pruners import Evidence, Judgement


def lamp(evidence: Evidence) -> Judgement:
    """w^2 / (the sum of squares of the weights that are at least as large)."""
    return Judgement({n: _relative(w.detach().double() ** 2) for n, w in evidence.weights.items()})


def _relative(squares: Tensor) -> Tensor:
    order = squares.flatten().argsort(stable=True, descending=True)
    ranked = squares.flatten()[order]
    scores = torch.empty_like(ranked)
    # An all-zero layer divides 0 by 0; its weights go first.
    scores[order] = torch.nan_to_num(ranked / ranked.cumsum(0))
    return scores.view_as(squares)
