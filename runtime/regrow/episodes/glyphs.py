"""Handwriting without a download: a class is a random little stroke program, a sample one drawing of it.

A class draws 2 to 4 strokes over a 3 x 3 field of joints; a stroke is one or two cubic pieces (line, arc,
hook, S), and strokes share joints. A sample moves the joints and bows a little, then scales, slants, rotates,
shifts and thickens the whole. 28 x 28, ink 1 on paper 0, in steps of 1/255.

Bit-equal on every platform: integer draws, then only + - * / and square root on float64 in a fixed order (no
sine, no matrix product), then 8 bits. Not a model of any real script.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from regrow.episodes.draws import Draws
from regrow.errors import SampleError

SIDE = 28
SPLITS = {"train": 600, "val": 100, "test": 200}
F64 = NDArray[np.float64]

_POINTS = 26  # drawn per piece; neighbours lie under a pixel apart
_REACH = 9.2  # pixels from the centre to the outer joints of an unscaled glyph
_MAX_PIECES = 5
_LEAST_EXTENT = 1.2
# What a sample may do to its class, as half-widths around (or ranges of) the ideal drawing.
_JOINT_JITTER = 0.08  # of the reach
_BOW_JITTER = 0.1  # of a piece's length
_HALF_TURN = 0.11  # tan of half of 12.5 degrees
_SLANT = 0.2
_SCALE = (0.85, 1.15)
_SHIFT = 3.0  # pixels
_RADIUS = (0.75, 1.4)  # of the pen, pixels
_WIDTH = 2 * 9 + 2 * _MAX_PIECES + 7  # random numbers per sample


@dataclass(frozen=True)
class Program:
    """One class: joints (9, 2) in [-1, 1]; pieces (p, 2) name start and end joint; bows (p, 2) bend them."""

    joints: F64
    pieces: NDArray[np.int64]
    bows: F64


def program(seed: int, number: int) -> Program:
    """The stroke program of class `number`: the first of its drafts that is no mere dash or scribble."""
    attempt = 0
    while True:
        glyph = _draft(Draws("glyph", seed, number, attempt))
        corners = glyph.joints[glyph.pieces.reshape(-1)]
        extent = corners.max(0) - corners.min(0)  # of at most 2 x 2
        if len(glyph.pieces) >= 3 and extent.min() >= _LEAST_EXTENT:
            return glyph
        attempt += 1


def _draft(draws: Draws) -> Program:
    grid = np.array([(i % 3 - 1, i // 3 - 1) for i in range(9)], dtype=np.float64) * 0.8
    joints = grid + draws.uniform((9, 2), -0.2, 0.2)
    used: list[int] = []
    pieces: list[tuple[int, int]] = []
    bows: list[tuple[float, float]] = []
    for _ in range(2 + int(draws.below(1, 3)[0])):
        pick = [int(v) for v in draws.below(8, 1 << 16)]
        shared = used and pick[0] % 4 < 3
        here = used[pick[1] % len(used)] if shared else pick[1] % 9
        for step in range(1 + pick[2] % 2):
            if len(pieces) == _MAX_PIECES:
                break
            free = [j for j in range(9) if j != here and (here, j) not in pieces and (j, here) not in pieces]
            there = free[pick[3 + step] % len(free)]
            pieces.append((here, there))
            bows.append(_bow(pick[5 + step]))
            used += [here, there]
            here = there
    return Program(joints, np.array(pieces, dtype=np.int64), np.array(bows, dtype=np.float64))


def _bow(pick: int) -> tuple[float, float]:
    """Handles of a cubic, across its chord and as parts of its length: line, arc or half circle, hook, S."""
    sign = 1.0 if pick & 1 else -1.0
    size = sign * (0.3 + 0.1 * (pick >> 1 & 3))
    kinds = ((0.0, 0.0), (0.0, 0.0), (size, size), (size, size), (1.5 * size, 0.0), (size, -size))
    return kinds[(pick >> 3) % len(kinds)]


def _bernstein() -> F64:
    t = np.arange(_POINTS, dtype=np.float64) / (_POINTS - 1)
    s = 1.0 - t
    return np.stack([s * s * s, 3.0 * s * s * t, 3.0 * s * t * t, t * t * t])


_BASIS = _bernstein()  # (4, points)


def render(glyph: Program, numbers: F64) -> NDArray[np.uint8]:
    """Draw one sample per row of numbers (n, _WIDTH) in [-1, 1): (n, 28, 28), ink 255."""
    n, p = len(numbers), len(glyph.pieces)
    joints = glyph.joints + _JOINT_JITTER * numbers[:, :18].reshape(n, 9, 2)
    bows = glyph.bows + _BOW_JITTER * numbers[:, 18 : 18 + 2 * p].reshape(n, p, 2)
    x, y = _place(*_trace(joints, glyph.pieces, bows), numbers[:, -7:])  # (n, points) in pixels
    pixels = np.arange(SIDE, dtype=np.float32)
    # float32 from here on: half the memory to stream, and a hundredth of a grey level at most.
    dx, dy = x.astype(np.float32)[:, :, None] - pixels, y.astype(np.float32)[:, :, None] - pixels
    dx *= dx
    dy *= dy
    nearest = np.full((n, SIDE, SIDE), np.inf, np.float32)
    # Point by point: the working set stays in cache, and a minimum does not depend on order.
    for i in range(x.shape[1]):
        np.minimum(nearest, dy[:, i, :, None] + dx[:, i, None, :], out=nearest)
    radius = _between(_RADIUS, numbers[:, -1])[:, None, None].astype(np.float32)
    ink = np.clip(radius + np.float32(0.5) - np.sqrt(nearest), np.float32(0), np.float32(1))
    drawn: NDArray[np.uint8] = np.floor(ink * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return drawn


def _trace(joints: F64, pieces: NDArray[np.int64], bows: F64) -> tuple[F64, F64]:
    """Points along every piece: two arrays (n, p * points)."""
    start, end = joints[:, pieces[:, 0]], joints[:, pieces[:, 1]]  # (n, p, 2)
    across = np.stack([start[..., 1] - end[..., 1], end[..., 0] - start[..., 0]], -1)
    c1 = start + bows[..., :1] * across
    c2 = end + bows[..., 1:] * across
    b0, b1, b2, b3 = _BASIS
    traced = [
        start[..., k, None] * b0 + c1[..., k, None] * b1 + c2[..., k, None] * b2 + end[..., k, None] * b3
        for k in (0, 1)
    ]
    return traced[0].reshape(len(joints), -1), traced[1].reshape(len(joints), -1)


def _place(x: F64, y: F64, numbers: F64) -> tuple[F64, F64]:
    """Centre, scale, slant, rotate and shift points (n, points) by six of seven numbers per sample."""
    n = numbers[:, :, None]
    x = (x - (x.max(1, keepdims=True) + x.min(1, keepdims=True)) * 0.5) * _between(_SCALE, n[:, 0])
    y = (y - (y.max(1, keepdims=True) + y.min(1, keepdims=True)) * 0.5) * _between(_SCALE, n[:, 1])
    x = x + _SLANT * n[:, 2] * y
    half = _HALF_TURN * n[:, 3]  # tan of half the angle gives cosine and sine without calling either
    cos = (1.0 - half * half) / (1.0 + half * half)
    sin = 2.0 * half / (1.0 + half * half)
    centre = (SIDE - 1) * 0.5
    return (
        centre + _REACH * (cos * x - sin * y) + _SHIFT * n[:, 4],
        centre + _REACH * (sin * x + cos * y) + _SHIFT * n[:, 5],
    )


def _between(bounds: tuple[float, float], number: F64) -> F64:
    return (bounds[0] + bounds[1]) * 0.5 + (bounds[1] - bounds[0]) * 0.5 * number


@dataclass(frozen=True)
class Glyphs:
    """A class source of drawn glyphs; a class is drawn when first asked for, then kept as bytes."""

    numbers: tuple[int, ...]  # of the stroke programs; no two splits share one
    classes: tuple[str, ...]
    per_class: int
    seed: int
    _drawn: dict[int, NDArray[np.uint8]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def task(self) -> Literal["classification"]:
        return "classification"

    @property
    def n_classes(self) -> int:
        return len(self.numbers)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (1, SIDE, SIDE)

    def samples(self, class_index: int) -> int:
        return self.per_class

    def bytes_of(self, class_index: int) -> NDArray[np.uint8]:
        """All drawings of a class, (per_class, 28, 28), ink 255."""
        if class_index not in self._drawn:
            number = self.numbers[class_index]
            numbers = Draws("drawing", self.seed, number).uniform((self.per_class, _WIDTH), -1.0, 1.0)
            self._drawn[class_index] = render(program(self.seed, number), numbers)
        return self._drawn[class_index]

    def take(self, class_index: int, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """The named drawings, (n, 1, 28, 28) float32 in [0, 1]."""
        return self.bytes_of(class_index)[indices][:, None].astype(np.float32) / np.float32(255)


def glyphs(split: str = "train", *, classes: int | None = None, samples: int = 20, seed: int = 0) -> Glyphs:
    """Open a split; `classes` is 600, 100 or 200 for train, val, test unless said otherwise."""
    split = split or "train"
    if split not in SPLITS:
        raise SampleError(f"source 'glyphs:{split}': no split is called {split!r}; use {', '.join(SPLITS)}")
    count = SPLITS[split] if classes is None else classes
    if count < 1 or samples < 1:
        raise SampleError(f"source 'glyphs:{split}': classes {count}, samples {samples}; ask for 1 or more")
    # Numbers step by three, so the splits stay apart however many classes each is given.
    offset = list(SPLITS).index(split)
    numbers = tuple(range(offset, 3 * count, 3))
    return Glyphs(numbers, tuple(f"glyph-{number}" for number in numbers), samples, seed)
