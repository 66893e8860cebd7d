"""Lowering of convolutions, of products with packed weights, and of what follows them channel by channel."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.ops.schema import ints
from regrow.plan import winograd
from regrow.plan.builder import NONE, Buffer, Builder, Place, maybe
from regrow.plan.chain import CHEAP, Chain
from regrow.plan.grid import Geometry, Grid, Planes, geometry, is_same, same_grid
from regrow.plan.kept import backward, forward
from regrow.plan.pointwise import Lower
from regrow.plan.products import lower_batch_matmul, lower_linear, lower_matmul
from regrow.plan.stretches import shifts, widened
from regrow.plan.style import Scratch
from regrow.plan.walk import emit_sparse, listed_in_parts, listed_in_stretches, offsets
from regrow.program import Attr, Op, Program

_POINT: Mapping[str, Attr] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}


def shared_pads(
    programs: Iterable[Program], batch: int, packs: Collection[str], wide: bool
) -> dict[tuple[int, int], tuple[int, int]]:
    """Per spatial size the widest padding of the convolutions that keep it.

    `wide`: rows around packed weights are whole vectors.
    """
    pads: dict[tuple[int, int], tuple[int, int]] = {}
    packed: set[tuple[int, int]] = set()
    for program in programs:
        for op in program.ops:
            if op.kind == "conv2d":
                kernel = program.values[op.inputs[1]].shape[2:]
                if is_same(kernel, op.attrs):
                    _, _, h, w = program.values[op.inputs[0]].at(batch)
                    old, new = pads.get((h, w), (0, 0)), ints(op.attrs, "padding")
                    pads[h, w] = max(old[0], new[0]), max(old[1], new[1])
                    if op.inputs[1] in packs and prod(program.values[op.inputs[1]].shape[1:]) > CHEAP:
                        packed.add((h, w))
    if wide:
        pads |= {(h, w): (pads[h, w][0], widened(w, pads[h, w][1])) for h, w in packed}
    return pads


def _geometry(b: Builder, op: Op) -> Geometry:
    """Of a convolution or any of its gradients."""
    if op.kind == "conv2d":
        size, output, kernel = (
            b.shape(op.inputs[0])[2:],
            b.shape(op.outputs[0])[2:],
            b.shape(op.inputs[1])[2:],
        )
    elif op.kind == "conv2d_dx":
        size, output, kernel = ints(op.attrs, "size"), b.shape(op.inputs[0])[2:], b.shape(op.inputs[1])[2:]
    else:
        size, output, kernel = b.shape(op.inputs[1])[2:], b.shape(op.inputs[0])[2:], ints(op.attrs, "kernel")
    h, w = size
    samples = b.shape(op.inputs[0])[0]
    shared = b.same_size_grid(samples, (h, w)) if is_same(kernel, op.attrs) else None
    return geometry(samples, (h, w), (output[0], output[1]), kernel, op.attrs, shared)


def _tiled(b: Builder, op: Op) -> bool:
    return winograd.suits(op, b.values, b.batch, b.style, b.packs)


def grid_of(b: Builder, conv: Op) -> Grid:
    """The grid of a convolution's planes."""
    return _geometry(b, conv).grid


def _point(b: Builder, op: Op) -> Geometry:
    """Of a product with a matrix: one tap on samples of one row and one column."""
    samples = b.shape(op.inputs[0])[0]
    grid = same_grid(samples, (1, 1), b.pads.get((1, 1), (0, 0)))
    return geometry(samples, (1, 1), (1, 1), (1, 1), _POINT, grid)


def wanted(b: Builder, ops: Sequence[Op]) -> dict[str, Grid]:
    """The grid on which the first convolution that reads a value wants it."""
    found: dict[str, Grid] = {}
    parts = (part for whole in ops for part in (whole.parts if isinstance(whole, Chain) else (whole,)))
    for op in parts:
        if op.kind.startswith("conv2d"):
            made = _geometry(b, op)
            x = op.inputs[1] if op.kind == "conv2d_dw" else op.inputs[0] if op.kind == "conv2d" else ""
            if x and made.stride == (1, 1):
                found.setdefault(x, made.grid)
            if op.kind != "conv2d":
                found.setdefault(op.inputs[0], made.grid)
        elif (op.kind == "linear" and op.inputs[1] in b.packs) or (
            op.kind == "matmul" and (op.inputs[1] in b.packs or op.outputs[0] in b.packs)
        ):
            found.setdefault(op.inputs[0], _point(b, op).grid)
    return found


def _input_planes(b: Builder, name: str, made: Geometry) -> tuple[Buffer, Planes]:
    _, c, h, w = b.extents(name)
    planes = Planes(made.grid, c, h, w, made.stride)
    return b.planes(name, planes), planes


def _output_place(b: Builder, name: str, made: Geometry) -> Place:
    """dy, where a convolution left its y."""
    _, c, h, w = b.extents(name)
    planes = Planes(made.grid, c, h, w)
    return Place(b.planes(name, planes), planes)


def lower_conv(
    b: Builder, op: Op, scratch: Scratch | None = None, wide: tuple[Buffer, Planes] | None = None
) -> None:
    """`wide`: some samples of an input that is not there as planes."""
    _forward(b, op, _geometry(b, op), scratch, wide)


def _forward(
    b: Builder,
    op: Op,
    made: Geometry,
    scratch: Scratch | None = None,
    wide: tuple[Buffer, Planes] | None = None,
) -> None:
    x, planes = wide or _input_planes(b, op.inputs[0], made)
    _, o, h, w = b.extents(op.outputs[0])
    grid = scratch.of(made.grid) if scratch else made.grid
    y = b.floats(grid.floats(scratch.planes if scratch else o))
    b.put(op.outputs[0], Place(y, Planes(grid, o, h, w, clean=False)))
    bias = [b.plain(name) for name in op.inputs[2:]]
    front, channel = planes.grid.guard, planes.grid.channel
    step, blocks = planes.phases * channel, min(planes.grid.blocks, grid.blocks)
    if op.inputs[1] in b.packs:
        kept, reach = forward(b.kept[op.inputs[1]]), offsets(planes, made)
        taken = shifts(planes, [t.offset for t in made.taps])
        walk, order = listed_in_stretches(b, op.inputs[1], "", kept, reach, taken)
        values = b.weight(op.inputs[1])
        if walk.shifts:
            values = _picked(b, op.inputs[1], "shifted:", values, order)
        emit_sparse(b, (y, grid), (x, front), values, bias, walk, blocks)
        return
    weight, groups, taps = b.weight(op.inputs[1]), made.groups, len(made.taps)
    if scratch is None and wide is None and _tiled(b, op):
        return winograd.lower_product(b, (x, planes), (y, Planes(grid, o, h, w)), weight, bias, turned=False)
    c, o = planes.channels // groups, o // groups
    pairs = [n for t in made.taps for n in (t.phase * channel + t.offset, t.number)]
    words = (
        *(y, x, weight, *maybe(bias), groups, c, o, blocks),
        *(front, step, front, grid.channel, c * taps, taps, o * c * taps, taps, *pairs),
    )
    b.emit("conv", words, (x, weight, *bias), (y,))


def _picked(b: Builder, weight: str, way: str, packed: Buffer, order: NDArray[Any]) -> Buffer:
    """The kept values in another order."""
    numbers, made = b.listed(f"kept:{weight}:{way}order", order.astype(np.uint32)), b.floats(len(order))
    b.emit("pick", (made, packed, numbers, len(order), len(order)), (packed, numbers), (made,))
    return made


def lower_conv_dx(b: Builder, op: Op, source: Place | None = None, scratch: Scratch | None = None) -> None:
    """`source`: where dy lies, in a scratch."""
    _input_gradient(b, op, _geometry(b, op), source, scratch)


def _input_gradient(
    b: Builder, op: Op, made: Geometry, source: Place | None = None, scratch: Scratch | None = None
) -> None:
    place = source or _output_place(b, op.inputs[0], made)
    assert place.planes is not None
    dy, channels, (_, c, h, w) = place.buffer, b.extents(op.inputs[0])[1], b.extents(op.outputs[0])
    grid = scratch.of(made.grid) if scratch else made.grid
    planes = Planes(grid, c, h, w, made.stride, clean=False)
    if scratch:
        dx = b.floats(grid.floats(scratch.planes))
        b.put(op.outputs[0], Place(dx, planes))
    else:
        dx = b.new_planes(op.outputs[0], planes)
    front, channel = grid.guard, grid.channel
    if op.inputs[1] in b.packs:
        phases = tuple(t.phase for t in made.taps)
        lists = backward(b.kept[op.inputs[1]], phases, planes.phases)
        way = "back:" if planes.phases == 1 else f"back{phases}:"
        reach = [o * channel - t.offset for o in range(channels) for t in made.taps]
        taken = shifts(place.planes, [-t.offset for t in made.taps]) if planes.phases == 1 else None
        walk, order = listed_in_stretches(b, op.inputs[1], way, lists, reach, taken)
        values = _picked(b, op.inputs[1], way, b.weight(op.inputs[1]), lists.order[order])
        emit_sparse(b, (dx, grid), (dy, front), values, (), walk)
        return
    weight, groups, taps = b.weight(op.inputs[1]), made.groups, len(made.taps)
    if source is None and scratch is None and _tiled(b, op):
        return winograd.lower_product(b, (dy, place.planes), (dx, planes), weight, [], turned=True)
    rows, channels = c // groups, channels // groups
    for phase in range(planes.phases):
        pairs = [n for t in made.taps if t.phase == phase for n in (-t.offset, t.number)]
        words = (
            *(dx, dy, weight, NONE, groups, channels, rows, grid.blocks, front, channel),
            *(front + phase * channel, planes.phases * channel, taps, rows * taps, channels * rows * taps),
            *(len(pairs) // 2, *pairs),
        )
        b.emit("conv", words, (dy, weight), (dx,))


def lower_conv_dw(
    b: Builder, op: Op, source: Place | None = None, wide: tuple[Buffer, Planes] | None = None
) -> None:
    """`source`: where dy lies, in a scratch; `wide`: as in `lower_conv`."""
    _weight_gradient(b, op, _geometry(b, op), source, wide)


def _weight_gradient(
    b: Builder,
    op: Op,
    made: Geometry,
    source: Place | None = None,
    wide: tuple[Buffer, Planes] | None = None,
) -> None:
    place = source or _output_place(b, op.inputs[0], made)
    assert place.planes is not None
    dy, grid, o = place.buffer, place.planes.grid, b.extents(op.inputs[0])[1]
    x, planes = wide or _input_planes(b, op.inputs[1], made)
    front, channel = made.grid.guard, planes.grid.channel
    step = planes.phases * channel
    name, taps = op.outputs[0], len(made.taps)
    if name in b.packs:
        weight = b.owner[name]
        walk = listed_in_parts(b, weight, planes, made, grid.blocks)
        g = b.new_packed(name)
        words = (
            *(g, dy, x, *walk.buffers, walk.target or NONE, walk.parts, o, walk.kept, grid.blocks, walk.tile),
            *(front, front, grid.channel, len(walk.table), *walk.table),
        )
        b.emit("conv_sparse_dw", words, (dy, x, *walk.read), (g,))
        return
    g = b.new(name)
    if source is None and wide is None and _tiled(b, op):
        return winograd.lower_gradient(b, g, place, (x, planes))
    c, o = planes.channels // made.groups, o // made.groups
    pairs = [n for t in made.taps for n in (t.phase * channel + t.offset, t.number)]
    words = (
        *(g, dy, x, made.groups, c, o, grid.blocks, front, step, front, grid.channel),
        *(c * taps, taps, o * c * taps, taps, *pairs),
    )
    b.emit("conv_dw", words, (dy, x), (g,))


def lower_product(b: Builder, op: Op) -> None:
    """linear; one tap of a convolution where its weight is packed."""
    if op.inputs[1] in b.packs:
        return _forward(b, op, _point(b, op))
    return lower_linear(b, op)


def lower_product_back(b: Builder, op: Op) -> None:
    """The matmul that is the gradient of a product with a packed weight, or any other."""
    if op.outputs[0] in b.packs:
        return _weight_gradient(b, op, _point(b, op))
    if op.inputs[1] in b.packs:
        return _input_gradient(b, op, _point(b, op))
    return lower_matmul(b, op)


CONVS: dict[str, Lower] = {
    "conv2d": lower_conv,
    "conv2d_dx": lower_conv_dx,
    "conv2d_dw": lower_conv_dw,
    "linear": lower_product,
    "matmul": lower_product_back,
    "batch_matmul": lower_batch_matmul,
}
