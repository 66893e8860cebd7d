"""Meta-SGD (Li et al. 2017): every parameter has a learned rate of its own; theta <- theta - alpha * g."""

from __future__ import annotations

import torch
from torch import Tensor

from regrow_trainer.rules import Rule
from regrow_trainer.tensors import Tensors


def meta_sgd(lr: float = 0.01) -> Rule:
    """All rates begin at `lr`; they may become negative, which stops or reverses a parameter."""

    def meta(params: Tensors) -> Tensors:
        return {f"rate.{name}": torch.full_like(param, lr) for name, param in params.items()}

    def init(meta: Tensors, params: Tensors) -> Tensors:
        return {}

    def update(
        meta: Tensors, params: Tensors, grads: Tensors, state: Tensors, step: Tensor
    ) -> tuple[Tensors, Tensors]:
        return {name: param - meta[f"rate.{name}"] * grads[name] for name, param in params.items()}, state

    return Rule(meta, init, update)
