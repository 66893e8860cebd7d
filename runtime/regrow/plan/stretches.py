"""Kept weights by how far their taps are from whole vectors, so that kernels read x only where vectors lie.

A tap's offset is whole vectors and a shift of a few lanes. What all weights of one shift sum to is made from
whole vectors and then moved by that shift at once. Lanes leave a vector then, and zeros come in: right where
what lies beyond is a pad, which holds within a row of whole vectors, or within a sample of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regrow.plan.grid import LANES, Grid, Planes, rounded
from regrow.plan.kept import Lists

Numbers = NDArray[np.int64]

# Vectors that a kernel holds at once, stretches up to which moving pays off, and kept weights in each.
MOST_VECTORS, MOST_STRETCHES, LEAST_KEPT = 8, 6, 4
# Share of a row that may be pads for the sake of whole vectors.
MOST_PADS = 1 / 8


@dataclass(frozen=True)
class Shifts:
    """A shift for each tap, and the vectors of a unit that nothing but pads leaves."""

    of_tap: tuple[int, ...]
    unit: int

    @property
    def all(self) -> tuple[int, ...]:
        """From the lowest to the highest."""
        return tuple(sorted(set(self.of_tap)))


def widened(columns: int, pads: int) -> int:
    """The pads of a row that fill whole vectors, where they are few; else as they are."""
    least = columns + pads
    more = rounded(least) - least
    return pads + more if more <= MOST_PADS * least else pads


def shifts(planes: Planes, offsets: Sequence[int]) -> Shifts | None:
    """Those of taps at such offsets; None where it cannot be, or there are too many."""
    unit = _unit(planes.grid)
    if unit is None or planes.phases > 1:
        return None
    row, column = np.divmod(np.arange(unit * LANES), planes.grid.columns)
    inside = (row < planes.rows) & (column < planes.columns)
    taken: dict[int, int] = {}
    used: dict[int, NDArray[np.bool_]] = {}
    for residue in sorted({offset % LANES for offset in offsets}):
        at = [_reads(planes, row, column, offset) & inside for offset in offsets if offset % LANES == residue]
        reads: NDArray[np.bool_] = np.any(at, axis=0)
        both = sorted((residue, residue - LANES), key=abs)
        fitting = [shift for shift in both if abs(shift) < LANES and _stays(reads, shift)]
        if not fitting:
            return None
        taken[residue] = fitting[0]
        used[fitting[0]] = reads
    # What was summed before is moved along.
    before = np.zeros(unit * LANES, np.bool_)
    for shift in sorted(used):
        before |= used[shift]
        if not _stays(before, shift):
            return None
    made = Shifts(tuple(taken[offset % LANES] for offset in offsets), unit)
    return made if 1 < len(made.all) <= MOST_STRETCHES else None


def _unit(grid: Grid) -> int | None:
    """Vectors of a row or of a sample, where they are whole and few."""
    found = (size // LANES for size in (grid.columns, grid.sample) if size % LANES == 0)
    return next((unit for unit in found if unit <= MOST_VECTORS), None)


def _reads(planes: Planes, row: Numbers, column: Numbers, offset: int) -> NDArray[np.bool_]:
    """Where a tap meets no pad beside a row; nor one above or below, where the unit is a sample."""
    down = round(offset / planes.grid.columns)
    to_row, to_column = row + down, column + offset - down * planes.grid.columns
    alone = row[-1] == 0
    met: NDArray[np.bool_] = (to_column >= 0) & (to_column < planes.columns)
    return met if alone else met & (to_row >= 0) & (to_row < planes.rows)


def _stays(reads: NDArray[np.bool_], shift: int) -> bool:
    at = np.flatnonzero(reads) + shift
    return not len(at) or bool(at.min() >= 0 and at.max() < len(reads))


def in_stretches(lists: Lists, made: Shifts) -> tuple[Lists, NDArray[np.intp]]:
    """Every row's list by shift, with the end of each stretch; and where each entry was before."""
    rows, taps, count = len(lists.ends) - 1, len(made.of_tap), len(made.all)
    number = np.searchsorted(made.all, made.of_tap)
    row = np.repeat(np.arange(rows), lists.ends[1:].astype(np.int64) - lists.ends[:-1])
    stretch = row * count + number[lists.index % taps]
    order = np.argsort(stretch, kind="stable")
    ends = np.zeros(rows * count + 1, np.uint32)
    ends[1:] = np.cumsum(np.bincount(stretch, minlength=rows * count))
    return replace(lists, index=lists.index[order], ends=ends, order=lists.order[order]), order
