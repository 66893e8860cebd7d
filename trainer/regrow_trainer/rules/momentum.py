"""Gradient descent with momentum and weight decay: v <- mu v + g + w theta; theta <- theta - lr v."""

from __future__ import annotations

import torch
from torch import Tensor

from regrow_trainer.rules import Rule
from regrow_trainer.tensors import Tensors


def momentum(
    lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 0.0, nesterov: bool = False
) -> Rule:
    """As `torch.optim.SGD`; the velocity is state, so a second adaptation keeps its pace."""

    def meta(params: Tensors) -> Tensors:
        return {"lr": torch.tensor(lr)}

    def init(meta: Tensors, params: Tensors) -> Tensors:
        return {f"velocity.{name}": torch.zeros_like(param) for name, param in params.items()}

    def update(
        meta: Tensors, params: Tensors, grads: Tensors, state: Tensors, step: Tensor
    ) -> tuple[Tensors, Tensors]:
        new, velocities = {}, {}
        for name, param in params.items():
            slope = grads[name] + weight_decay * param if weight_decay else grads[name]
            velocity = momentum * state[f"velocity.{name}"] + slope
            velocities[f"velocity.{name}"] = velocity
            new[name] = param - meta["lr"] * (slope + momentum * velocity if nesterov else velocity)
        return new, velocities

    return Rule(meta, init, update)
