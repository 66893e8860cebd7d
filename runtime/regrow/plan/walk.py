"""What kernels over kept weights walk: per row offsets, or numbers of a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.plan.builder import Buffer, Builder, maybe
from regrow.plan.grid import LANES, Geometry, Grid, Planes
from regrow.plan.kept import Lists, forward, in_parts
from regrow.plan.stretches import LEAST_KEPT, Shifts, in_stretches

# Of a weight's gradient: blocks of a plane between two reductions, and bytes of x that the first cache holds
# while all gradients of outputs pass by.
TILE_BLOCKS, NEAR = 80, 36 * 1024
# Positions of a row up to which two bytes number them.
NARROW = 2**16


@dataclass(frozen=True, eq=False)
class Walk:
    """Offsets themselves are quicker; numbers of the `table` take half of their bytes."""

    index: Buffer
    ends: Buffer
    rows: int
    kept: int
    table: tuple[int, ...]
    shifts: tuple[int, ...] = ()
    unit: int = 0

    @property
    def buffers(self) -> tuple[Buffer, Buffer]:
        return self.index, self.ends


def offsets(planes: Planes, made: Geometry) -> list[int]:
    """Of every (channel, tap) into x."""
    channel = made.grid.channel
    step = planes.phases * channel
    return [c * step + t.phase * channel + t.offset for c in range(planes.channels) for t in made.taps]


def listed(b: Builder, weight: str, way: str, lists: Lists, reach: Sequence[int]) -> Walk:
    """The lists of a weight as blocks, for positions that lie at `reach`."""
    ends = b.listed(f"kept:{weight}:{way}ends", lists.ends)
    rows, kept = len(lists.ends) - 1, len(lists.index)
    if b.style.narrow and len(reach) <= NARROW:
        index = b.listed(f"kept:{weight}:{way}index", lists.index.astype(np.uint16))
        return Walk(index, ends, rows, kept, tuple(reach))
    made = np.array(reach, np.int32)[lists.index]
    names = (f"kept:{weight}:{way}offsets:{n}" for n in range(len(b.lists) + 1))
    return Walk(b.listed(next(n for n in names if _is_free(b, n, made)), made), ends, rows, kept, ())


def listed_in_stretches(
    b: Builder, weight: str, way: str, lists: Lists, reach: Sequence[int], made: Shifts | None
) -> tuple[Walk, NDArray[Any]]:
    """The lists by shift, where that pays off, and where each entry was before."""
    rows = len(lists.ends) - 1
    if made is None or not b.style.wide or len(lists.index) < LEAST_KEPT * rows * len(made.all):
        return listed(b, weight, way, lists, reach), np.arange(len(lists.index))
    by_shift, order = in_stretches(lists, made)
    walk = listed(b, weight, f"{way}shifted:", by_shift, reach)
    return replace(walk, rows=rows, shifts=made.all, unit=made.unit), order


@dataclass(frozen=True, eq=False)
class Parts(Walk):
    """What the weight's gradient walks: some channels of x after the other, a tile of planes at a time."""

    parts: int = 1
    tile: int = 1  # blocks
    target: Buffer | None = None

    @property
    def read(self) -> tuple[Buffer, ...]:
        return (*self.buffers, *([self.target] if self.target else []))


def listed_in_parts(b: Builder, weight: str, planes: Planes, made: Geometry, blocks: int) -> Parts:
    """As many channels as leave the first cache some room; all where lists are to be short."""
    kept, reach = b.kept[weight], offsets(planes, made)
    tile = even(blocks, TILE_BLOCKS)
    channels = max(1, NEAR // (4 * LANES * tile))
    if b.style.narrow or channels >= planes.channels:
        walk = listed(b, weight, "", forward(kept), reach)
        return Parts(walk.index, walk.ends, walk.rows, walk.kept, walk.table, tile=tile)
    lists = in_parts(kept, channels)
    walk = listed(b, weight, f"by {channels}:", lists, reach)
    target = b.listed(f"kept:{weight}:by {channels}:target", lists.order)
    parts = walk.rows // len(kept.mask)
    return Parts(walk.index, walk.ends, walk.rows, walk.kept, (), parts=parts, tile=tile, target=target)


def even(count: int, most: int) -> int:
    """Into how many at a time a count is cut, so that the last ones are not left with a few."""
    return -(-count // -(-count // most))


def _is_free(b: Builder, name: str, array: NDArray[Any]) -> bool:
    """Whether a name stands for nothing yet, or for an equal list."""
    return name not in b.lists or np.array_equal(b.lists[name], array)


def emit_sparse(
    b: Builder,
    y: tuple[Buffer, Grid],
    x: tuple[Buffer, int],
    values: Buffer,
    bias: Sequence[Buffer],
    walk: Walk,
) -> None:
    """A convolution over kept weights. x: its buffer, and floats before its first plane."""
    grid = y[1]
    words = (
        *(y[0], x[0], values, *maybe(bias), walk.index, walk.ends, walk.rows, walk.kept),
        *(grid.blocks, x[1], grid.guard, grid.channel, len(walk.table), len(walk.shifts), walk.unit),
        *(*walk.table, *walk.shifts),
    )
    b.emit("conv_sparse", words, (x[0], values, *walk.buffers, *bias), (y[0],))
