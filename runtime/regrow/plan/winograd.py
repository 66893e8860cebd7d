"""3x3 convolutions of many channels that the core makes from 16 sums per four results (`ops/winograd.c`).

Which of them gain, how many lines of tiles they take at a time, and the scratch that needs. The gradients of
such a layer are made the same way; all read and write the planes that other kernels do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod

from regrow.ops.schema import ints
from regrow.plan.builder import Buffer, Builder, Place, maybe
from regrow.plan.grid import LANES, Planes, is_same, rounded
from regrow.plan.style import Style
from regrow.program import Op, Value

# Cycles, as measured with vectors of 16: what turning a tile or a pair of channels round and adding up takes,
# and of a weight's gradient made whole the sum over its vector.
TILE_CYCLES, PAIR_CYCLES, SUM_CYCLES, PER_CYCLE = 5.3, 5.5, 2.5, 2 * LANES
# Floats of a lot of tiles' points, of both sides, that leave room for the weights' in the second cache.
LOT_FLOATS = 96 * 1024
_KINDS = ("conv2d", "conv2d_dx", "conv2d_dw")


def suits(op: Op, values: Mapping[str, Value], batch: int, style: Style, packs: Collection[str]) -> bool:
    """Whether a convolution, or a gradient of one, is made by tiles."""
    if not style.tiled or op.kind not in _KINDS or op.attrs["groups"] != 1:
        return False
    weight = op.outputs[0] if op.kind == "conv2d_dw" else op.inputs[1]
    shape = values[weight].shape
    if shape[2:] != (3, 3) or weight in packs or not is_same(shape[2:], op.attrs):
        return False
    n, _, h, w = values[op.inputs[0]].at(batch)
    return ints(op.attrs, "dilation") == (1, 1) and gains(op.kind, shape[:2], (n, h, w))


def gains(kind: str, sides: tuple[int, ...], size: tuple[int, int, int]) -> bool:
    """Whether tiles of so many samples, rows and columns cost less than whole sums, which count pads."""
    (batch, h, w), pairs = size, prod(sides)
    lanes = [rounded(side) for side in sides]
    products = pairs // sides[1] * lanes[1] if kind != "conv2d" else pairs // sides[0] * lanes[0]
    tiles = batch * -(-h // 2) * -(-w // 2)
    tiled = tiles * (16 * products / PER_CYCLE + TILE_CYCLES * sum(lanes)) + PAIR_CYCLES * products
    whole = 9 * pairs * rounded(batch * (h + 1) * (w + 1)) / PER_CYCLE
    return tiled < whole + (9 * pairs * SUM_CYCLES if kind == "conv2d_dw" else 0)


def _scratch(b: Builder, planes: Planes, other: int, products: int) -> tuple[Buffer, int]:
    """Points of both sides and of `products` weights, a stretch of rows; lines of tiles at once."""
    across, ways = -(-planes.columns // 2), rounded(planes.channels) + rounded(other)
    all_lines = planes.grid.samples * -(-planes.rows // 2)
    most = max(1, LOT_FLOATS // (16 * across * ways))
    lots = -(-all_lines // most)
    lines = -(-all_lines // lots)
    points = 16 * (lines * across * ways + products + 3 * LANES)
    stretch = LANES * (3 * planes.grid.columns + 2 * across + 2 + LANES)
    return b.floats(points + stretch), lines


def lower_product(
    b: Builder,
    x: tuple[Buffer, Planes],
    y: tuple[Buffer, Planes],
    weight: Buffer,
    bias: list[Buffer],
    turned: bool,
) -> None:
    """y from x: a convolution, or the gradient of its input, `turned` by half then."""
    (source, given), (target, made) = x, y
    channels, filters = given.channels, made.channels
    scratch, lines = _scratch(b, given, filters, channels * rounded(filters))
    steps = (9, 9 * filters) if turned else (9 * channels, 9)
    words = (
        *(target, source, weight, *maybe(bias), scratch, channels, filters),
        *(given.grid.samples, given.rows, given.columns, *given.grid.view(), *made.grid.view()),
        *(*steps, int(turned), lines),
    )
    b.emit("winograd", words, (source, weight, *bias), (target, scratch))


def lower_gradient(b: Builder, g: Buffer, dy: Place, x: tuple[Buffer, Planes]) -> None:
    """The gradient of the weight."""
    assert dy.planes is not None
    (source, given), above = x, dy.planes
    scratch, lines = _scratch(b, given, above.channels, above.channels * rounded(given.channels))
    words = (
        *(g, dy.buffer, source, scratch, given.channels, above.channels),
        *(given.grid.samples, given.rows, given.columns, *given.grid.view(), *above.grid.view(), lines),
    )
    b.emit("winograd_dw", words, (dy.buffer, source), (g, scratch))
