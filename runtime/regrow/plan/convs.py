"""Lowering of convolutions, of products with packed weights, and of what follows them channel by channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.ops.schema import ints
from regrow.plan.builder import NONE, Buffer, Builder, Place, maybe
from regrow.plan.chain import Chain
from regrow.plan.grid import Geometry, Grid, Planes, geometry, is_same, same_grid
from regrow.plan.kept import NARROW, Kept, Lists, backward, forward
from regrow.plan.pointwise import Lower
from regrow.plan.products import lower_batch_matmul, lower_linear, lower_matmul
from regrow.program import Attr, Op, Program

_POINT: Mapping[str, Attr] = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}


@dataclass(eq=False)
class ConvBuilder(Builder):
    """A builder that knows the packed weights and hands their lists out as blocks."""

    kept: Mapping[str, Kept] = field(default_factory=dict)
    owner: Mapping[str, str] = field(default_factory=dict)
    lists: dict[str, NDArray[Any]] = field(default_factory=dict)
    narrow: bool = False  # lists of two bytes per kept weight rather than four

    def listed(self, name: str, array: NDArray[Any]) -> Buffer:
        """An array the engine has to bring along, as a block of its own."""
        self.lists[name] = array
        return Buffer(array.nbytes, name, pinned=True)


def shared_pads(programs: Iterable[Program], batch: int) -> dict[tuple[int, int], tuple[int, int]]:
    """Per spatial size the widest padding of the convolutions that keep it."""
    pads: dict[tuple[int, int], tuple[int, int]] = {}
    for program in programs:
        for op in program.ops:
            if op.kind == "conv2d":
                kernel = program.values[op.inputs[1]].shape[2:]
                if is_same(kernel, op.attrs):
                    _, _, h, w = program.values[op.inputs[0]].at(batch)
                    old, new = pads.get((h, w), (0, 0)), ints(op.attrs, "padding")
                    pads[h, w] = max(old[0], new[0]), max(old[1], new[1])
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


def _output_planes(b: Builder, name: str, made: Geometry) -> tuple[Buffer, Planes]:
    """dy, where a convolution left its y."""
    _, c, h, w = b.extents(name)
    planes = Planes(made.grid, c, h, w)
    return b.planes(name, planes), planes


def lower_conv(b: Builder, op: Op, scratch: int = 0) -> None:
    """`scratch`: its output is there only so many planes at a time."""
    _forward(b, op, _geometry(b, op), scratch)


def _forward(b: Builder, op: Op, made: Geometry, scratch: int = 0) -> None:
    x, planes = _input_planes(b, op.inputs[0], made)
    _, o, h, w = b.extents(op.outputs[0])
    y = b.floats(made.grid.floats(scratch or o))
    b.put(op.outputs[0], Place(y, Planes(made.grid, o, h, w, clean=False)))
    bias = [b.plain(name) for name in op.inputs[2:]]
    step = planes.phases * made.grid.channel
    front, channel = made.grid.guard, made.grid.channel
    if op.inputs[1] in b.packs:
        assert isinstance(b, ConvBuilder)
        found = _listed(b, op.inputs[1], "", forward(b.kept[op.inputs[1]]), _offsets(planes, made, step))
        _sparse(b, (y, front, channel), (x, front), b.places[op.inputs[1]][0].buffer, bias, found, made.grid)
        return
    weight, groups, taps = b.plain(op.inputs[1]), made.groups, len(made.taps)
    c, o = planes.channels // groups, o // groups
    pairs = [n for t in made.taps for n in (t.phase * channel + t.offset, t.number)]
    words = (
        *(y, x, weight, *maybe(bias), groups, c, o, made.grid.blocks),
        *(front, step, front, channel, c * taps, taps, o * c * taps, taps, *pairs),
    )
    b.emit("conv", words, (x, weight, *bias), (y,))


def _offsets(planes: Planes, made: Geometry, step: int) -> list[int]:
    """Of every (channel, tap) into x."""
    channel = made.grid.channel
    return [c * step + t.phase * channel + t.offset for c in range(planes.channels) for t in made.taps]


@dataclass(frozen=True, eq=False)
class _Walk:
    """What a kernel walks: per row offsets, or numbers of a table of them, which takes half the bytes."""

    index: Buffer
    ends: Buffer
    rows: int
    kept: int
    table: tuple[int, ...]

    @property
    def buffers(self) -> tuple[Buffer, Buffer]:
        return self.index, self.ends


def _listed(b: ConvBuilder, weight: str, way: str, lists: Lists, offsets: Sequence[int]) -> _Walk:
    ends = b.listed(f"kept:{weight}:{way}ends", lists.ends)
    rows, kept = len(lists.ends) - 1, len(lists.index)
    if b.narrow and len(offsets) <= NARROW:
        index = b.listed(f"kept:{weight}:{way}index", lists.index.astype(np.uint16))
        return _Walk(index, ends, rows, kept, tuple(offsets))
    made = np.array(offsets, np.int32)[lists.index]
    same = (n for n in range(len(b.lists)) if _is_list(b, f"kept:{weight}:{way}offsets:{n}", made))
    return _Walk(b.listed(f"kept:{weight}:{way}offsets:{next(same)}", made), ends, rows, kept, ())


def _is_list(b: ConvBuilder, name: str, array: NDArray[Any]) -> bool:
    """Whether a name is free or stands for an equal list."""
    return name not in b.lists or np.array_equal(b.lists[name], array)


def _sparse(
    b: Builder,
    y: tuple[Buffer, int, int],
    x: tuple[Buffer, int],
    values: Buffer,
    bias: Sequence[Buffer],
    walk: _Walk,
    grid: Grid,
) -> None:
    words = (
        *(y[0], x[0], values, *maybe(bias), walk.index, walk.ends, walk.rows, walk.kept),
        *(grid.blocks, x[1], y[1], y[2], len(walk.table), *walk.table),
    )
    b.emit("conv_sparse", words, (x[0], values, *walk.buffers, *bias), (y[0],))


def lower_conv_dx(b: Builder, op: Op) -> None:
    _input_gradient(b, op, _geometry(b, op))


def _input_gradient(b: Builder, op: Op, made: Geometry) -> None:
    dy, source = _output_planes(b, op.inputs[0], made)
    _, c, h, w = b.extents(op.outputs[0])
    planes = Planes(made.grid, c, h, w, made.stride, clean=False)
    dx = b.new_planes(op.outputs[0], planes)
    front, channel = made.grid.guard, made.grid.channel
    if op.inputs[1] in b.packs:
        assert isinstance(b, ConvBuilder)
        phases = tuple(t.phase for t in made.taps)
        lists = backward(b.kept[op.inputs[1]], phases, planes.phases)
        way = "back:" if planes.phases == 1 else f"back{phases}:"
        order = b.listed(f"kept:{op.inputs[1]}:{way}order", lists.order)
        values, picked = b.places[op.inputs[1]][0].buffer, b.floats(len(lists.order))
        b.emit(
            "pick", (picked, values, order, len(lists.order), len(lists.order)), (values, order), (picked,)
        )
        offsets = [o * channel - t.offset for o in range(source.channels) for t in made.taps]
        found = _listed(b, op.inputs[1], way, lists, offsets)
        _sparse(b, (dx, front, channel), (dy, front), picked, (), found, made.grid)
        return
    weight, groups, taps = b.plain(op.inputs[1]), made.groups, len(made.taps)
    rows, channels = c // groups, source.channels // groups
    for phase in range(planes.phases):
        pairs = [n for t in made.taps if t.phase == phase for n in (-t.offset, t.number)]
        words = (
            *(dx, dy, weight, NONE, groups, channels, rows, made.grid.blocks, front, channel),
            *(front + phase * channel, planes.phases * channel, taps, rows * taps, channels * rows * taps),
            *(len(pairs) // 2, *pairs),
        )
        b.emit("conv", words, (dy, weight), (dx,))


def lower_conv_dw(b: Builder, op: Op) -> None:
    _weight_gradient(b, op, _geometry(b, op))


def _weight_gradient(b: Builder, op: Op, made: Geometry) -> None:
    dy, source = _output_planes(b, op.inputs[0], made)
    x, planes = _input_planes(b, op.inputs[1], made)
    step, front, channel = planes.phases * made.grid.channel, made.grid.guard, made.grid.channel
    name, taps = op.outputs[0], len(made.taps)
    if name in b.packs:
        assert isinstance(b, ConvBuilder)
        weight = b.owner[name]
        walk = _listed(b, weight, "", forward(b.kept[weight]), _offsets(planes, made, step))
        g = b.new_packed(name)
        words = (
            *(g, dy, x, *walk.buffers, walk.rows, walk.kept, made.grid.blocks, front, front, channel),
            *(len(walk.table), *walk.table),
        )
        b.emit("conv_sparse_dw", words, (dy, x, *walk.buffers), (g,))
        return
    g = b.new(name)
    c, o = planes.channels // made.groups, source.channels // made.groups
    pairs = [n for t in made.taps for n in (t.phase * channel + t.offset, t.number)]
    words = (
        *(g, dy, x, made.groups, c, o, made.grid.blocks, front, step, front, channel),
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
