"""Conv4: `depth` blocks of 3x3 convolution, batch norm, ReLU and halving, then a linear head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regrow.errors import UnsupportedError
from regrow_trainer.backbones.context import Film, empty_context
from regrow_trainer.norm import BatchNorm

Downsample = Literal["pool", "stride"]


class Block(nn.Module):
    """One block; `pool` halves by 2x2 max-pooling after the ReLU, `stride` in the convolution.

    A block with a `context` of that many numbers scales and shifts by it before the ReLU.
    """

    def __init__(self, channels: int, width: int, downsample: Downsample, context: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, stride=2 if downsample == "stride" else 1, padding=1)
        self.norm = BatchNorm(width)
        self.film = Film(context, width) if context else None
        self.pool = downsample == "pool"
        nn.init.xavier_uniform_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        x = self.norm(self.conv(x))
        if self.film is not None and context is not None:
            # Pooled first: a negative scale would turn the largest value into the smallest.
            x = self.film(F.max_pool2d(x, 2) if self.pool else x, context)
            return F.relu(x)
        x = F.relu(x)
        return F.max_pool2d(x, 2) if self.pool else x


class Conv4(nn.Module):
    """`input_shape` is (channels, height, width); `outputs` the classes.

    A `context` of that many numbers enters at block number `context_at`, counted from 1.
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        outputs: int = 5,
        width: int = 32,
        depth: int = 4,
        downsample: Downsample = "pool",
        context: int = 0,
        context_at: int = 3,
    ) -> None:
        super().__init__()
        if downsample not in ("pool", "stride"):
            raise UnsupportedError(f"backbone: conv4 downsample {downsample!r}, expected 'pool' or 'stride'")
        if context and not 1 <= context_at <= depth:
            raise UnsupportedError(
                f"backbone: conv4 context_at {context_at}, expected a block from 1 to {depth}; change it"
            )
        channels, height, side = input_shape
        widths = [channels, *[width] * depth]
        self.context = empty_context(context) if context else None
        self.blocks = nn.ModuleList(
            Block(a, b, downsample, context if i == context_at else 0)
            for i, (a, b) in enumerate(pairwise(widths), 1)
        )
        for _ in range(depth):
            # Pooling drops an odd last row; a stride with padding keeps it.
            odd = 1 if downsample == "stride" else 0
            height, side = (height + odd) // 2, (side + odd) // 2
        if height < 1 or side < 1:
            raise UnsupportedError(
                f"backbone: conv4 depth {depth} leaves nothing of {tuple(input_shape)}; use fewer blocks"
            )
        self.head = nn.Linear(width * height * side, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, self.context)
        head: Tensor = self.head(torch.flatten(x, 1))
        return head
