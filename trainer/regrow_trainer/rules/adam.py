"""Adam (Kingma and Ba 2015, algorithm 1) while adapting."""

from __future__ import annotations

import torch
from torch import Tensor

from regrow_trainer.rules import Rule
from regrow_trainer.tensors import Tensors


def adam(lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Rule:
    """As `torch.optim.Adam`. Updates are counted in the state: `step` starts over with every adaptation,
    the means do not."""

    def meta(params: Tensors) -> Tensors:
        return {"lr": torch.tensor(lr)}

    def init(meta: Tensors, params: Tensors) -> Tensors:
        means = {f"mean.{name}": torch.zeros_like(param) for name, param in params.items()}
        squares = {f"square.{name}": torch.zeros_like(param) for name, param in params.items()}
        where = next(iter(params.values())).device
        return {"count": torch.zeros((), dtype=torch.int64, device=where), **means, **squares}

    def update(
        meta: Tensors, params: Tensors, grads: Tensors, state: Tensors, step: Tensor
    ) -> tuple[Tensors, Tensors]:
        count = state["count"] + 1
        done = count.to(meta["lr"].dtype)
        rate = meta["lr"] / (1 - beta1**done)
        spread = (1 - beta2**done).sqrt()
        new, made = {}, {"count": count}
        for name, param in params.items():
            slope = grads[name]
            made[f"mean.{name}"] = mean = beta1 * state[f"mean.{name}"] + (1 - beta1) * slope
            made[f"square.{name}"] = square = beta2 * state[f"square.{name}"] + (1 - beta2) * slope * slope
            new[name] = param - rate * mean / (_root(square) / spread + eps)
        return new, made

    return Rule(meta, init, update)


def _root(square: Tensor) -> Tensor:
    """A square root whose own derivative is finite at zero, where the weights of a dead unit are."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)
