"""What a plan is to be good at: time or memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from regrow.plan.grid import Grid


@dataclass(frozen=True)
class Scratch:
    """A value that is there only so many planes and samples at a time."""

    planes: int
    samples: int

    def of(self, grid: Grid) -> Grid:
        return replace(grid, samples=self.samples)


@dataclass(frozen=True)
class Style:
    """What a plan is to be good at."""

    recompute: bool  # outputs of convolutions are made again instead of kept
    narrow: bool  # lists of two bytes per kept weight instead of four
    tile_bytes: int  # of a scratch, from which follows how many samples it holds
    wide: bool = False  # rows around packed weights are whole vectors, where that takes few pads


STYLES = {
    "fast": Style(recompute=False, narrow=False, tile_bytes=32 * 1024),
    "wide": Style(recompute=False, narrow=False, tile_bytes=32 * 1024, wide=True),
    "small": Style(recompute=True, narrow=True, tile_bytes=0),
}


def samples_at_once(grid: Grid, planes: int, style: Style) -> int:
    """How many samples a scratch of so many planes holds: as its bytes allow, in tiles of like size."""
    most = max(1, min(grid.samples, style.tile_bytes // (4 * planes * grid.sample)))
    tiles = -(-grid.samples // most)
    return -(-grid.samples // tiles)
