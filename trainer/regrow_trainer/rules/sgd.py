"""Gradient descent with one rate for every parameter: theta <- theta - lr * g."""

from __future__ import annotations

import torch
from torch import Tensor

from regrow_trainer.rules import Rule
from regrow_trainer.tensors import Tensors


def sgd(lr: float = 0.01) -> Rule:
    """The rate is a meta tensor, so it is stored, may be meta-learned, and reaches the device."""

    def meta(params: Tensors) -> Tensors:
        return {"lr": torch.tensor(lr)}

    def init(meta: Tensors, params: Tensors) -> Tensors:
        return {}

    def update(
        meta: Tensors, params: Tensors, grads: Tensors, state: Tensors, step: Tensor
    ) -> tuple[Tensors, Tensors]:
        return {name: param - meta["lr"] * grads[name] for name, param in params.items()}, state

    return Rule(meta, init, update)
