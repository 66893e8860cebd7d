"""A context: a parameter that begins at zero and is all that a device adapts (CAVIA, Zintgraf et al. 2019).

A backbone that takes one owns a vector called `context` and says where it enters, in one of these ways. A
recipe makes it the adaptable set and holds it in the outer loop; nothing else knows about it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def empty_context(size: int) -> nn.Parameter:
    """What every task begins with."""
    return nn.Parameter(torch.zeros(size))


def joined(x: Tensor, context: Tensor) -> Tensor:
    """The context as further inputs of every sample, (B, d) and (c,) -> (B, d + c)."""
    return torch.cat([x, context.expand(x.shape[0], -1)], 1)


class Film(nn.Module):
    """Scale and shift every channel by linear functions of the context."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear = nn.Linear(size, 2 * channels)
        nn.init.kaiming_uniform_(self.linear.weight)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        both = torch.split(self.linear(context), self.channels)
        scale, shift = (part.reshape(-1, *[1] * (x.dim() - 2)) for part in both)
        return x * scale + shift
