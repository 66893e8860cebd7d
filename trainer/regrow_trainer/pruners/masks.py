"""Which weights the scores leave: exact counts, ties by index, earlier rounds respected, no layer empty."""

from __future__ import annotations

import torch
from torch import Tensor

from regrow_trainer.pruners import Scope
from regrow_trainer.tensors import Tensors


def make_masks(scores: Tensors, masks: Tensors, sparsity: float, scope: Scope) -> Tensors:
    """True where a weight stays. What `masks` removed already stays removed, so rounds are nested.

    The best weight of every layer stays: a network without a layer neither learns nor exports.
    """
    gone = {n: s.masked_fill(~masks[n], -1.0) if n in masks else s for n, s in scores.items()}
    if scope == "layer":
        made = {n: lowest_out(s.flatten(), sparsity).view_as(s) for n, s in gone.items()}
    else:
        every = [_best_spared(s.flatten()) for s in gone.values()]
        kept = lowest_out(torch.cat(every), sparsity, spared=len(every))
        parts = torch.split_with_sizes(kept, [s.numel() for s in gone.values()])
        made = {n: part.view_as(s) for (n, s), part in zip(gone.items(), parts, strict=True)}
    # Masks that another method left on other tensors go on as they are.
    return {**masks, **{n: m & masks[n] if n in masks else m for n, m in made.items()}}


def lowest_out(scores: Tensor, sparsity: float, spared: int = 1) -> Tensor:
    """An exact count, ties by index; a threshold misses by one and goes wild where many weights are equal.

    `spared` of them stay whatever the share.
    """
    kept = torch.ones(scores.numel(), dtype=torch.bool)
    count = min(int(sparsity * scores.numel() + 0.5), scores.numel() - spared)
    kept[scores.argsort(stable=True)[:count]] = False
    return kept


def _best_spared(scores: Tensor) -> Tensor:
    """The scores, the last of the order beyond any other."""
    made = scores.clone()
    made[scores.argsort(stable=True)[-1]] = torch.inf
    return made
