"""Learned rates per step and per parameter tensor, as MAML++ (Antoniou et al. 2019) has them."""

from __future__ import annotations

import torch
from torch import Tensor

from regrow_trainer.rules import Rule
from regrow_trainer.tensors import Tensors


def step_rates(lr: float = 0.01, steps: int = 5) -> Rule:
    """All rates begin at `lr`; after `steps` steps the last ones stay in force."""

    def meta(params: Tensors) -> Tensors:
        return {"rates": torch.full((steps, len(params)), lr)}

    def init(meta: Tensors, params: Tensors) -> Tensors:
        return {}

    def update(
        meta: Tensors, params: Tensors, grads: Tensors, state: Tensors, step: Tensor
    ) -> tuple[Tensors, Tensors]:
        row = torch.index_select(meta["rates"], 0, step.clamp(max=steps - 1).reshape(1))[0]
        new = {name: param - row[i] * grads[name] for i, (name, param) in enumerate(params.items())}
        return new, state

    return Rule(meta, init, update)
