"""Scores to masks. A pruner is one function in one file that scores weights, and one row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from regrow.errors import UnsupportedError
from regrow.select import select
from regrow_trainer.tables import follow, path_of
from regrow_trainer.tensors import Tensors

# name -> "module:function"
PRUNERS: dict[str, str] = {
    "fisher": "regrow_trainer.pruners.fisher:fisher",
    "lamp": "regrow_trainer.pruners.lamp:lamp",
    "m2sgd": "regrow_trainer.pruners.m2sgd:m2sgd",
    "magnitude": "regrow_trainer.pruners.magnitude:magnitude",
}

Scope = Literal["layer", "global"]


@dataclass(frozen=True)
class Evidence:
    """What a pruner may look at. What costs work is computed only if it is called."""

    weights: Tensors
    squared_gradients: Callable[[], Tensors]  # mean square of every weight's meta-gradient over some tasks
    rates: Callable[[], Tensors] = dict  # mean rate of every weight after adapting to some tasks


class Pruner(Protocol):
    """One score per weight, none of them negative; the lowest go first."""

    def __call__(self, evidence: Evidence) -> Tensors: ...


def pruner(name: str) -> Pruner:
    """Look a pruner up by name or dotted path."""
    found: Pruner = follow("pruner", path_of("pruner", name, PRUNERS))
    return found


def prunable(params: Tensors) -> tuple[str, ...]:
    """Weights of two or more dimensions, the classifier spared; biases and norms are too few to matter."""
    shapes = {name: tuple(p.shape) for name, p in params.items()}
    head = select(shapes, ["@head"])
    names = tuple(n for n, shape in shapes.items() if len(shape) >= 2 and n not in head)
    if not names:
        raise UnsupportedError(
            f"prune: none of {', '.join(params)} can be pruned, expected a weight of two or more dimensions "
            "before the classifier; use a deeper backbone"
        )
    return names


def make_masks(
    chosen: Pruner,
    params: Tensors,
    masks: Tensors,
    sparsity: float,
    scope: Scope,
    squared_gradients: Callable[[], Tensors],
    rates: Callable[[], Tensors] = dict,
) -> Tensors:
    """True where a weight stays. What `masks` removed already stays removed, so rounds are nested."""
    scores = chosen(Evidence({n: params[n] for n in prunable(params)}, squared_gradients, rates))
    gone = {n: s.masked_fill(~masks[n], -1.0) if n in masks else s for n, s in scores.items()}
    if scope == "layer":
        return {n: _lowest_out(s.flatten(), sparsity).view_as(s) for n, s in gone.items()}
    kept = _lowest_out(torch.cat([s.flatten() for s in gone.values()]), sparsity)
    parts = torch.split_with_sizes(kept, [s.numel() for s in gone.values()])
    return {n: part.view_as(s) for (n, s), part in zip(gone.items(), parts, strict=True)}


def _lowest_out(scores: Tensor, sparsity: float) -> Tensor:
    """An exact count, ties by index; a threshold misses by one and goes wild where many weights are equal."""
    kept = torch.ones(scores.numel(), dtype=torch.bool, device=scores.device)
    count = int(sparsity * scores.numel() + 0.5)
    kept[scores.argsort(stable=True)[:count]] = False
    return kept
