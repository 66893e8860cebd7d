"""A one-dimensional convolutional network for sensor channels and audio features over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from regrow.errors import UnsupportedError
from regrow_trainer.norm import BatchNorm


class Block(nn.Module):
    """Convolution over time, batch norm, ReLU, halving by max-pooling."""

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, width, kernel, padding=kernel // 2)
        self.norm = BatchNorm(width)
        nn.init.xavier_uniform_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool1d(F.relu(self.norm(self.conv(x))), 2)


class Conv1d(nn.Module):
    """`input_shape` is (channels, length); the head sees the mean over what time is left."""

    def __init__(
        self,
        input_shape: Sequence[int] = (6, 128),
        outputs: int = 5,
        width: int = 64,
        depth: int = 4,
        kernel: int = 5,
    ) -> None:
        super().__init__()
        channels, length = input_shape
        if length < 2**depth or kernel % 2 == 0:
            raise UnsupportedError(
                f"backbone: conv1d kernel {kernel}, depth {depth} for {tuple(input_shape)}, expected an odd "
                f"kernel and a length of at least {2**depth}; use fewer blocks"
            )
        widths = [channels, *[width] * depth]
        self.blocks = nn.ModuleList(Block(a, b, kernel) for a, b in pairwise(widths))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        head: Tensor = self.head(x.mean(2))
        return head
