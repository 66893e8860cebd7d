"""Nearest class mean (Mensink et al. 2013; Snell et al. 2017): a head that is fitted, not stepped.

It carries the sum of the features of every class and their number, so that later samples only add to them.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from regrow.errors import UnsupportedError
from regrow_trainer.rules import MetricRule
from regrow_trainer.tensors import Tensors

Distance = Literal["euclidean", "cosine"]


def prototype(distance: Distance = "euclidean", scale: float = 1.0) -> MetricRule:
    """Scores are the negative squared distances to the class means, or the cosines; times `scale`.

    Only probabilities and losses depend on `scale`. Cosines lie within -1 and 1: give them 10 or so.
    """
    if distance not in get_args(Distance):
        known = ", ".join(get_args(Distance))
        raise UnsupportedError(f"prototype: distance {distance!r}, expected one of {known}; choose one")
    if not scale > 0:
        raise UnsupportedError(f"prototype: scale {scale!r}, expected a number > 0; leave it out for 1")

    def init(ways: int, width: int) -> Tensors:
        return {"sums": torch.zeros(ways, width), "counts": torch.zeros(ways)}

    def fit(params: Tensors, features: Tensor, hot: Tensor) -> Tensors:
        new = hot.sum(0)
        sums = params["sums"] + hot.T @ features
        # Selected, so that a class without new samples keeps its very bits, whatever the others bring.
        kept = torch.where(new[:, None] > 0, sums, params["sums"])
        return {"sums": kept, "counts": params["counts"] + new}

    def score(params: Tensors, features: Tensor) -> Tensor:
        means = params["sums"] / params["counts"].clamp(min=1.0)[:, None]
        if distance == "cosine":
            return scale * (_unit(features) @ _unit(means).T)
        near = 2 * features @ means.T - (means * means).sum(1)
        return scale * (near - (features * features).sum(1, keepdim=True))

    return MetricRule(init, fit, score)


def _unit(rows: Tensor) -> Tensor:
    """Rows of length one; a class without samples has none, and scores zero."""
    return rows / (rows * rows).sum(1, keepdim=True).sqrt().clamp(min=1e-12)
