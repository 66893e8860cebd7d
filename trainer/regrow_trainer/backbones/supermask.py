"""MMSUP: any backbone, of whose every layer only the largest weights count; how many is learned.

The mask follows the weights while they adapt, so different tasks end in different subnetworks. What stays out
gets no gradient, so it comes back only when others shrink below it, unless `revive` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regrow.errors import UnsupportedError
from regrow_trainer.backbones import BACKBONES, define
from regrow_trainer.tables import call

_LAYERS = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Linear: None}


def kept(weight: Tensor, keep: Tensor, revive: bool = False) -> Tensor:
    """The weight, zero but for its floor(sigmoid(keep) * size) largest entries; ties go by position.

    The derivative with respect to the share is the mean over all entries of that with respect to the mask.
    """
    share, size = torch.sigmoid(keep), weight.numel()
    order = torch.argsort(weight.detach().abs().flatten(), descending=True, stable=True)
    # The order of the order is the rank.
    rank = torch.argsort(order).view(weight.shape)
    chosen = (rank + 1 <= share.detach() * size).to(weight.dtype)
    masked = weight * (chosen + (share - share.detach()) / size)
    return masked + (weight - weight.detach()) * (1 - chosen) if revive else masked


class Masked(nn.Module):
    """A convolution or linear layer under its mask; weight and bias keep their names."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Linear, keep: float, revive: bool) -> None:
        super().__init__()
        self.weight, self.bias, self.revive = layer.weight, layer.bias, revive
        self.keep = nn.Parameter(torch.tensor(keep).logit())
        self.convolve = _LAYERS[type(layer)]
        names = ("stride", "padding", "dilation", "groups")
        self.geometry = [] if isinstance(layer, nn.Linear) else [getattr(layer, n) for n in names]

    def forward(self, x: Tensor) -> Tensor:
        weight = kept(self.weight, self.keep, self.revive)
        if self.convolve is None:
            return F.linear(x, weight, self.bias)
        return self.convolve(x, weight, self.bias, *self.geometry)


def mask_layers(module: nn.Module, keep: float = 0.5, revive: bool = False) -> nn.Module:
    """Put every convolution and linear layer of a module under a mask, in place."""
    if not 0 < keep < 1:
        raise UnsupportedError(
            f"backbone: supermask keep {keep}, expected a share between 0 and 1; change it"
        )
    for name, layer in list(module.named_modules()):
        if type(layer) in _LAYERS:
            module.set_submodule(name, Masked(layer, keep, revive))
    return module


def supermask(
    input_shape: Sequence[int],
    outputs: int,
    backbone: str = "conv4",
    args: Mapping[str, Any] | None = None,
    keep: float = 0.5,
    revive: bool = False,
) -> nn.Module:
    """A backbone of the table under masks; one of your own goes through `mask_layers`."""
    if backbone not in BACKBONES:
        # A checkpoint says what to build here, so a dotted path could be anybody's code.
        raise UnsupportedError(
            f"backbone: supermask of {backbone!r}, expected one of {', '.join(BACKBONES)}; "
            "for a module of your own write a function that calls mask_layers"
        )
    whole = define(backbone, dict(args or {}), tuple(input_shape), outputs)
    return mask_layers(call("backbone", *whole), keep, revive)
