"""Planes on a shared grid: how a 4-d value lies so that convolutions are loops in one dimension.

A channel is one run of floats: sample after sample, row after row, every row followed by zero columns and
every sample by zero rows. A tap of a convolution is then a constant offset. A stride is in how the input
is laid out: `s * s` planes per channel take every s-th row and column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from regrow.ops.schema import Attrs, ints

LANES = 16


def rounded(count: int) -> int:
    """Up to a whole number of the widest vectors."""
    return -(-count // LANES) * LANES


@dataclass(frozen=True)
class Grid:
    """`rows` x `columns` per sample, pads included; `guard` floats before the first plane, after the last."""

    samples: int
    rows: int
    columns: int
    guard: int
    slack: int = 0  # floats behind a plane, where its last sample is written in whole vectors

    @property
    def sample(self) -> int:
        return self.rows * self.columns

    @property
    def channel(self) -> int:
        return rounded(self.samples * self.sample) + self.slack

    @property
    def blocks(self) -> int:
        return self.channel // LANES

    def floats(self, planes: int) -> int:
        """Size of a buffer for so many planes."""
        return self.guard + planes * self.channel + self.guard + LANES

    def view(self, phases: int = 1, phase: int = 0) -> tuple[int, int, int, int]:
        """First element and strides of channel, sample and row; of one phase where there are several."""
        return self.guard + phase * self.channel, phases * self.channel, self.sample, self.columns


@dataclass(frozen=True)
class Planes:
    """A value's elements on a grid; `clean` where everything around them is zero."""

    grid: Grid
    channels: int
    rows: int
    columns: int
    stride: tuple[int, int] = (1, 1)
    clean: bool = True

    @property
    def phases(self) -> int:
        return self.stride[0] * self.stride[1]

    @property
    def floats(self) -> int:
        return self.grid.floats(self.channels * self.phases)

    @property
    def extents(self) -> tuple[int, int, int, int]:
        return self.grid.samples, self.channels, self.rows, self.columns


@dataclass(frozen=True)
class Tap:
    """One position of a kernel: its plane among the phases of a channel, its offset, its number."""

    phase: int
    offset: int
    number: int


@dataclass(frozen=True)
class Geometry:
    """A convolution on its grid."""

    grid: Grid
    stride: tuple[int, int]
    taps: tuple[Tap, ...]
    groups: int
    input: tuple[int, int]
    output: tuple[int, int]


def is_same(kernel: Sequence[int], attrs: Attrs) -> bool:
    """Whether input and output have one size, so that both can live on the grid of that size."""
    reach = [d * (k - 1) for d, k in zip(ints(attrs, "dilation"), kernel, strict=True)]
    doubled = [2 * p for p in ints(attrs, "padding")]
    return ints(attrs, "stride") == (1, 1) and reach == doubled


def same_grid(samples: int, size: tuple[int, int], pads: tuple[int, int]) -> Grid:
    """The grid shared by everything of one size: samples and rows share their pads."""
    rows, columns = size[0] + pads[0], size[1] + pads[1]
    return Grid(samples, rows, columns, rounded(pads[0] * columns + pads[1]))


def geometry(
    samples: int,
    size: tuple[int, int],
    output: tuple[int, int],
    kernel: Sequence[int],
    attrs: Attrs,
    shared: Grid | None,
) -> Geometry:
    """Where a convolution's taps fall; on the `shared` grid where there is one."""
    stride, padding, dilation = (ints(attrs, k) for k in ("stride", "padding", "dilation"))
    starts = [
        (i * dilation[0] - padding[0], j * dilation[1] - padding[1])
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    moves = [(u // stride[0], v // stride[1]) for u, v in starts]
    grid = shared or _own_grid(samples, size, output, stride, moves)
    taps = tuple(
        Tap(u % stride[0] * stride[1] + v % stride[1], a * grid.columns + b, number)
        for number, ((u, v), (a, b)) in enumerate(zip(starts, moves, strict=True))
    )
    return Geometry(grid, (stride[0], stride[1]), taps, int(str(attrs["groups"])), size, output)


def _own_grid(
    samples: int,
    size: tuple[int, int],
    output: tuple[int, int],
    stride: Sequence[int],
    moves: Sequence[tuple[int, int]],
) -> Grid:
    extent = []
    for axis in (0, 1):
        low, high = min(m[axis] for m in moves), max(m[axis] for m in moves)
        held = ceil(size[axis] / stride[axis])
        # Neither direction may reach the next sample's elements.
        extent.append(max(output[axis] + max(high, 0), held + max(-low, 0), output[axis], held))
    reach = max(abs(a) * extent[1] + abs(b) for a, b in moves)
    return Grid(samples, extent[0], extent[1], rounded(reach))
