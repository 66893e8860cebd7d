"""What the learned optimisers share: all weights as one column, readable gradients, an LSTM step.

Plain operations on tensors, so that a rule made of them differentiates, maps over tasks and exports.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from regrow_trainer.tensors import Tensors

LSTM_PARTS = ("into", "again", "bias")


def flat(tensors: Tensors) -> Tensor:
    """All numbers in one dimension, tensor after tensor."""
    return torch.cat([t.reshape(-1) for t in tensors.values()])


def unflat(numbers: Tensor, like: Tensors) -> Tensors:
    """The inverse of `flat` for tensors of these names and shapes."""
    parts = torch.split(numbers, [t.numel() for t in like.values()])
    return {n: part.reshape(t.shape) for (n, t), part in zip(like.items(), parts, strict=True)}


def readable(grads: Tensor, p: float) -> Tensor:
    """Size and sign of gradients of any magnitude, within about one: (n,) -> (n, 2).

    (log|g| / p, sign g) where |g| >= e^-p, else (-1, e^p g): Andrychowicz et al. 2016, appendix A. Two bounds
    say the same without a branch, and without the logarithm of zero.
    """
    size = torch.log(torch.clamp(grads.abs(), min=math.exp(-p))) / p
    sign = torch.clamp(math.exp(p) * grads, -1.0, 1.0)
    return torch.stack([size, sign], -1)


def lstm(meta: Tensors, layer: str, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM for every row: x (n, inputs), hidden and cell (n, width) -> the new two."""
    into, again, bias = (meta[f"{layer}.{part}"] for part in LSTM_PARTS)
    enter, forget, fresh, leave = torch.chunk(x @ into.T + hidden @ again.T + bias, 4, dim=1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(fresh)
    return torch.sigmoid(leave) * torch.tanh(cell), cell


def lstm_meta(layer: str, inputs: int, width: int, generator: torch.Generator) -> Tensors:
    """Its weights as torch draws them; one bias per gate, as a second would only be added to it."""
    shapes = ((4 * width, inputs), (4 * width, width), (4 * width,))
    return {
        f"{layer}.{part}": uniform(shape, width, generator)
        for part, shape in zip(LSTM_PARTS, shapes, strict=True)
    }


def uniform(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    """Within one over the root of `fan_in`, as torch's linear layers begin."""
    return (torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(fan_in)
