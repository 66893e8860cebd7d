"""Residual networks: ResNet-12 as few-shot learning uses it, ResNet-20 as for CIFAR."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from regrow.errors import UnsupportedError
from regrow_trainer.norm import BatchNorm


class Residual(nn.Module):
    """`depth` normed 3x3 convolutions around a shortcut, which is projected where the shape changes."""

    def __init__(self, channels: int, width: int, depth: int, stride: int = 1) -> None:
        super().__init__()
        sizes = [channels, *[width] * depth]
        strides = [stride, *[1] * (depth - 1)]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=s, padding=1, bias=False)
            for (a, b), s in zip(pairwise(sizes), strides, strict=True)
        )
        self.norms = nn.ModuleList(BatchNorm(width) for _ in range(depth))
        changed = channels != width or stride > 1
        self.shortcut = nn.Conv2d(channels, width, 1, stride=stride, bias=False) if changed else None
        self.shortcut_norm = BatchNorm(width) if changed else None
        for conv in [*self.convs, *([self.shortcut] if self.shortcut is not None else [])]:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = F.relu(y) if i else y
            y = norm(conv(y))
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x))
        return F.relu(x + y)


class ResNet12(nn.Module):
    """Four blocks of three convolutions, each followed by 2x2 max-pooling, then a mean over space."""

    def __init__(
        self,
        input_shape: Sequence[int] = (3, 84, 84),
        outputs: int = 5,
        widths: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        channels, height, side = input_shape
        if min(height, side) < 2 ** len(widths):
            raise UnsupportedError(
                f"backbone: resnet12 halves {len(widths)} times and leaves nothing of {tuple(input_shape)}; "
                "give fewer widths"
            )
        self.blocks = nn.ModuleList(Residual(a, b, 3) for a, b in pairwise([channels, *widths]))
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = F.max_pool2d(block(x), 2)
        head: Tensor = self.head(x.mean((2, 3)))
        return head


class ResNet20(nn.Module):
    """A convolution, three stages of `depth` blocks of two (20 layers for 3), then a mean over space."""

    def __init__(
        self,
        input_shape: Sequence[int] = (3, 32, 32),
        outputs: int = 10,
        widths: Sequence[int] = (16, 32, 64),
        depth: int = 3,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(input_shape[0], widths[0], 3, padding=1, bias=False)
        self.norm = BatchNorm(widths[0])
        nn.init.kaiming_normal_(self.stem.weight, nonlinearity="relu")
        self.blocks = nn.ModuleList(
            Residual(before if first else width, width, 2, stride=2 if first and stage else 1)
            for stage, (before, width) in enumerate(pairwise([widths[0], *widths]))
            for first in [True, *[False] * (depth - 1)]
        )
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        head: Tensor = self.head(x.mean((2, 3)))
        return head
