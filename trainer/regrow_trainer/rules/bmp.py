"""BMP: a small network decides, from the task and at every step, which tensors move.

It reads the mean of every gated tensor and of its gradient; a tensor moves where its vote is positive. Norms
are not gated. While training, the decision passes its gradient straight through to the vote.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from regrow.errors import UnsupportedError
from regrow_trainer.rules import Rule
from regrow_trainer.rules.layers import norms
from regrow_trainer.tensors import Tensors


def bmp(lr: float = 0.01, seed: int = 0) -> Rule:
    """Begins as gradient descent: every vote is 1. `seed` draws the network's hidden layers."""

    def meta(params: Tensors) -> Tensors:
        count = len(_gated(params))
        if not count:
            raise UnsupportedError(
                f"rule: bmp: no weight of two or more dimensions among {', '.join(params)}, expected some to "
                "decide about; adapt more than norms and biases"
            )
        generator = torch.Generator().manual_seed(seed)
        made = {"scale": torch.ones(2 * count)}
        for layer in ("first", "second"):
            for part, shape in (("weight", (2 * count, 2 * count)), ("bias", (2 * count,))):
                drawn = torch.rand(shape, generator=generator) * 2 - 1
                made[f"{layer}.{part}"] = drawn / (2 * count) ** 0.5
        # Zero weights and a bias of one: all tensors move at first, which is MAML.
        return made | {"last.weight": torch.zeros(count, 2 * count), "last.bias": torch.ones(count)}

    def init(meta: Tensors, params: Tensors) -> Tensors:
        return {}

    def update(
        meta: Tensors, params: Tensors, grads: Tensors, state: Tensors, step: Tensor
    ) -> tuple[Tensors, Tensors]:
        gated = _gated(params)
        means = torch.stack([t[name].mean() for t in (params, grads) for name in gated]).detach()
        hidden = means * meta["scale"]
        for layer in ("first", "second"):
            hidden = torch.relu(F.linear(hidden, meta[f"{layer}.weight"], meta[f"{layer}.bias"]))
        votes = F.linear(hidden, meta["last.weight"], meta["last.bias"])
        # The value is 0 or 1, the derivative that of the vote.
        gates = (votes > 0).to(votes.dtype) + (votes - votes.detach())
        rates = {name: lr * gates[i] for i, name in enumerate(gated)}
        return {name: param - rates.get(name, lr) * grads[name] for name, param in params.items()}, state

    return Rule(meta, init, update)


def _gated(params: Tensors) -> list[str]:
    spared = norms({name: tuple(param.shape) for name, param in params.items()})
    return [name for name in params if name not in spared]
