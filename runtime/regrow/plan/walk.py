"""What kernels over kept weights walk: per row offsets, or numbers of a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.plan.builder import Buffer, Builder, maybe
from regrow.plan.grid import Geometry, Grid, Planes
from regrow.plan.kept import Lists

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

    @property
    def buffers(self) -> tuple[Buffer, Buffer]:
        return self.index, self.ends


def offsets(planes: Planes, made: Geometry) -> list[int]:
    """Of every (channel, tap) into x."""
    channel = planes.grid.channel
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
    blocks: int | None = None,
) -> None:
    """A convolution over kept weights. x: its buffer, floats before its first plane; `blocks`: of y."""
    grid = y[1]
    words = (
        *(y[0], x[0], values, *maybe(bias), walk.index, walk.ends, walk.rows, walk.kept),
        *(blocks or grid.blocks, x[1], grid.guard, grid.channel, len(walk.table), *walk.table),
    )
    b.emit("conv_sparse", words, (x[0], values, *walk.buffers, *bias), (y[0],))
