"""What a plan is to be good at: time or memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from regrow.plan.grid import Grid


@dataclass(frozen=True)
class Scratch:
    """A value that is there only so many planes and samples at a time."""

    planes: int
    samples: int
    slack: int = 0

    def of(self, grid: Grid) -> Grid:
        return replace(grid, samples=self.samples, slack=self.slack)


@dataclass(frozen=True)
class Style:
    """What a plan is to be good at."""

    recompute: bool  # outputs of convolutions are made again instead of kept
    narrow: bool  # lists of two bytes per kept weight instead of four
    tile_bytes: int  # of a scratch of some samples; 0: what costs no memory (`tiles`)
    half: bool = False  # activations that wait for backward do so in fp16
    wide: bool = False  # rows around packed weights are whole vectors, where that takes few pads
    tiled: bool = False  # 3x3 convolutions of many channels are made by tiles, in a scratch of some of them


STYLES = {
    "fast": Style(recompute=False, narrow=False, tile_bytes=32 * 1024, tiled=True),
    "wide": Style(recompute=False, narrow=False, tile_bytes=32 * 1024, wide=True, tiled=True),
    "small": Style(recompute=True, narrow=True, tile_bytes=0),
    "small-fp16": Style(recompute=True, narrow=True, tile_bytes=0, half=True),
}


def samples_at_once(grid: Grid, planes: int, tile_bytes: int) -> int:
    """How many samples a scratch of so many planes holds: as its bytes allow, in tiles of like size."""
    most = max(1, min(grid.samples, tile_bytes // (4 * planes * grid.sample)))
    tiles = -(-grid.samples // most)
    return -(-grid.samples // tiles)
