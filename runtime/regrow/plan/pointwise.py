"""Lowering of pointwise ops: they keep the layout of their operands where all have the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, prod

from regrow.ops.schema import number
from regrow.plan.builder import ITEM, NONE, Buffer, Builder, Place, bits, maybe, strides
from regrow.plan.grid import Planes
from regrow.program import Op

Lower = Callable[[Builder, Op], None]
_PARAMETERS = {"leaky_relu": ("slope",), "elu": ("alpha",), "softplus": ("beta", "threshold")}
_MAPS = (
    "identity relu leaky_relu tanh sigmoid silu hardsigmoid hardswish elu softplus gelu exp log sqrt "
    "abs sign clip neg"
)
_BACKS = "relu leaky_relu tanh sigmoid silu hardsigmoid hardswish elu softplus gelu clip"
_STAYS_ZERO = {
    "identity",
    "relu",
    "leaky_relu",
    "tanh",
    "silu",
    "hardswish",
    "elu",
    "gelu",
    "abs",
    "sign",
    "neg",
}
_TYPES = {"float32": 0, "int64": 1, "bool": 2, "uint8": 2}


def _numbers(kind: str, op: Op) -> tuple[int, int]:
    if kind == "clip":
        ends = [number(op.attrs, k) if k in op.attrs else end for k, end in (("low", -inf), ("high", inf))]
        return bits(ends[0]), bits(ends[1])
    given = [bits(number(op.attrs, key)) for key in _PARAMETERS.get(kind, ())]
    return (*given, 0, 0)[0], (*given, 0, 0)[1]


def _function(kind: str, op: Op) -> str:
    return kind.replace("gelu", "gelu_tanh") if "gelu" in kind and op.attrs["approximate"] == "tanh" else kind


def common(b: Builder, names: Sequence[str]) -> Planes | int | None:
    """The layout that all of these have, where it is not plain: planes, or a number of kept positions."""
    firsts = [b.places[name][0] for name in names]
    if all(p.packed for p in firsts):
        return firsts[0].packed
    for place in b.places[names[0]]:
        planes = place.planes
        if planes is None or planes.stride != (1, 1) or b.find(names[0], plain=True):
            continue
        if all(
            (p := b.find(n, grid=planes.grid)) and p.planes and p.planes.extents == planes.extents
            for n in names
        ):
            return planes
    return None


def elementwise(b: Builder, y: str, tensors: Sequence[str], zero: bool) -> tuple[Buffer, list[Buffer], int]:
    """Where a pointwise op writes and reads, all in one layout, and how many elements."""
    layout = common(b, tensors)
    if isinstance(layout, int):
        places = [b.places[name][0] for name in tensors]
        return b.new_packed(y), [p.buffer for p in places], layout
    if layout is None:
        sources = [b.plain(name) for name in tensors]
        return b.new(y), sources, b.size(y)
    found = [p for n in tensors if (p := b.find(n, grid=layout.grid)) is not None]
    clean = zero and all(p.planes is not None and p.planes.clean for p in found)
    made = Planes(layout.grid, layout.channels, layout.rows, layout.columns, clean=clean)
    return b.new_planes(y, made), [p.buffer for p in found], layout.floats


def lower_map(b: Builder, op: Op) -> None:
    if b.values[op.inputs[0]].dtype != "float32":  # identity and neg of whole numbers
        return _lower_whole(b, op)
    if op.kind == "identity":
        return alias(b, op)
    y, (x,), count = elementwise(b, op.outputs[0], op.inputs, op.kind in _STAYS_ZERO)
    b.emit("map", (f"map:{_function(op.kind, op)}", y, x, count, *_numbers(op.kind, op)), (x,), (y,), (x,))
    return None


def _lower_whole(b: Builder, op: Op) -> None:
    if op.kind == "identity":
        return alias(b, op)
    x, y = b.plain(op.inputs[0]), b.new(op.outputs[0])
    zero = b.constant(bytes(8))
    _emit_binary(b, "sub_int64", y, (zero, ()), (x, b.shape(op.inputs[0])), b.shape(op.outputs[0]))
    return None


def alias(b: Builder, op: Op) -> None:
    """The same elements under another name, wherever they lie."""
    for place in b.places[op.inputs[0]]:
        b.put(op.outputs[0], place)


def lower_map_back(b: Builder, op: Op) -> None:
    kind = op.kind.removesuffix("_back")
    dx, (dy, x), count = elementwise(b, op.outputs[0], op.inputs[:2], zero=True)
    words = (
        f"map_back:{_function(op.kind, op)}",
        dx,
        dy,
        x,
        count,
        *_numbers(kind, op),
        int(bool(op.attrs.get("closed"))),
    )
    b.emit("map_back", words, (dy, x), (dx,), (dy, x))


def _aligned(shape: Sequence[int], out: Sequence[int]) -> tuple[int, ...]:
    """Strides of an operand over the axes of a broadcast: none along the axes it is repeated on."""
    own = strides(shape)
    lead = (0,) * (len(out) - len(shape))
    return lead + tuple(0 if d == 1 else s for d, s in zip(shape, own, strict=True))


def collapsed(shape: Sequence[int], *steps: Sequence[int]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The same walk with as few axes as possible, at least one."""
    axes = [(d, [s[i] for s in steps]) for i, d in enumerate(shape) if d != 1]
    merged: list[tuple[int, list[int]]] = []
    for d, at in axes:
        if merged and all(outer == inner * d for outer, inner in zip(merged[-1][1], at, strict=True)):
            merged[-1] = (merged[-1][0] * d, at)
        else:
            merged.append((d, at))
    merged = merged or [(1, [0 for _ in steps])]
    return tuple(d for d, _ in merged), [tuple(at[k] for _, at in merged) for k in range(len(steps))]


def _emit_binary(
    b: Builder,
    function: str,
    y: Buffer,
    left: tuple[Buffer, Sequence[int]],
    right: tuple[Buffer, Sequence[int]],
    out: Sequence[int],
) -> None:
    sizes, (sa, sb) = collapsed(out, _aligned(left[1], out), _aligned(right[1], out))
    whole = [
        buffer for buffer, shape in (left, right) if prod(shape) == prod(out) and buffer.bytes == y.bytes
    ]
    words = (f"binary:{function}", y, left[0], right[0], len(sizes), *sizes, *sa, *sb)
    b.emit("binary", words, (left[0], right[0]), (y,), whole)


def lower_binary(b: Builder, op: Op) -> None:
    function = op.kind
    if b.values[op.inputs[0]].dtype == "int64" and function not in ("floor_divide", "remainder"):
        function += "_int64"
    flat = _flat(b, op, op.inputs)
    if flat is not None:
        y, operands, count = flat
        shapes = [(count,) if whole else () for _, whole in operands]
        (a, _), (c, _) = operands
        return _emit_binary(b, function, y, (a, shapes[0]), (c, shapes[1]), (count,))
    left, right = ((b.plain(name), b.shape(name)) for name in op.inputs)
    y = b.new(op.outputs[0])
    return _emit_binary(b, function, y, left, right, b.shape(op.outputs[0]))


def _flat(b: Builder, op: Op, names: Sequence[str]) -> tuple[Buffer, list[tuple[Buffer, bool]], int] | None:
    """Operands that lie packed or on one grid, beside single numbers; None where plain is the way."""
    whole = [name for name in names if b.size(name) != 1 or b.places[name][0].packed]
    if not whole or common(b, whole) is None:
        return None
    if any(b.shape(name) != b.shape(op.outputs[0]) for name in whole):
        return None
    zero = op.kind in ("add", "sub", "mul", "select") and (op.kind == "mul" or len(whole) == len(names))
    y, found, count = elementwise(b, op.outputs[0], whole, zero)
    rest = iter(found)
    return y, [(next(rest), True) if name in whole else (b.plain(name), False) for name in names], count


def lower_not(b: Builder, op: Op) -> None:
    x, y = b.plain(op.inputs[0]), b.new(op.outputs[0])
    shape = b.shape(op.inputs[0])
    _emit_binary(b, "logical_not", y, (x, shape), (b.constant(bytes(1)), ()), shape)


def lower_select(b: Builder, op: Op) -> None:
    if op.outputs[0] in b.packs:
        return _select_packed(b, op)
    mask, left, right = (b.plain(name) for name in op.inputs)
    out, y = b.shape(op.outputs[0]), b.new(op.outputs[0])
    steps = [_aligned(b.shape(name), out) for name in op.inputs]
    sizes, (sm, sa, sb) = collapsed(out, *steps)
    whole = [x for x, name in zip((left, right), op.inputs[1:], strict=True) if b.shape(name) == out]
    words = (b.item(op.outputs[0]), y, mask, left, right, len(sizes), *sizes, *sm, *sa, *sb)
    b.emit("select", words, (mask, left, right), (y,), whole)


def _select_packed(b: Builder, op: Op) -> None:
    if op.inputs[0].startswith("mask:"):  # what is packed is what may move
        for place in b.places[op.inputs[1]]:
            b.put(op.outputs[0], place)
        return
    count, y = b.packs[op.outputs[0]], b.new_packed(op.outputs[0])
    packed = [name in b.packs for name in op.inputs]
    operands = [b.places[n][0].buffer if p else b.plain(n) for n, p in zip(op.inputs, packed, strict=True)]
    words = (b.item(op.outputs[0]), y, *operands, 1, count, *(int(p) for p in packed))
    b.emit("select", words, operands, (y,), [x for x, p in zip(operands[1:], packed[1:], strict=True) if p])


def lower_update(b: Builder, op: Op) -> None:
    value, gradient, rate, *masks = op.inputs
    r = b.plain(rate)
    if op.outputs[0] in b.packs:
        y, (p, g), count = elementwise(b, op.outputs[0], (value, gradient), False)
        mask: list[Buffer] = []
    else:
        p, g, mask = b.plain(value), b.plain(gradient), [b.plain(name) for name in masks]
        y, count = b.new(op.outputs[0]), b.size(value)
    words = (y, p, g, r, *maybe(mask), count)
    b.emit("update", words, (p, g, r, *mask), (y,), (p, g))


def lower_cast(b: Builder, op: Op) -> None:
    x, y = b.plain(op.inputs[0]), b.new(op.outputs[0])
    types = (_TYPES[b.values[op.outputs[0]].dtype], _TYPES[b.values[op.inputs[0]].dtype])
    b.emit("cast", (*types, y, x, b.size(op.inputs[0])), (x,), (y,))


def lower_constant(b: Builder, op: Op) -> None:
    b.put(op.outputs[0], Place(b.number(number(op.attrs, "value"))))


def lower_full(b: Builder, op: Op) -> None:
    name = op.outputs[0]
    dtype, value = b.values[name].dtype, number(op.attrs, "value")
    y = b.new_packed(name) if name in b.packs else b.new(name)
    count = b.packs.get(name, b.size(name))
    whole = bits(value) if dtype == "float32" else int(value) & (2**64 - 1)
    b.emit("fill", (ITEM[dtype], y, count, whole & NONE, whole >> 32), (), (y,))


def lower_literal(b: Builder, op: Op) -> None:
    import numpy as np

    made = np.array(op.attrs["values"], b.values[op.outputs[0]].dtype)
    b.put(op.outputs[0], Place(b.constant(made.tobytes())))


MAPS: dict[str, Lower] = {
    **dict.fromkeys(_MAPS.split(), lower_map),
    **{f"{kind}_back": lower_map_back for kind in _BACKS.split()},
    **dict.fromkeys(
        ["add", "sub", "mul", "div", "pow_tensor", "greater", "greater_equal", "equal"], lower_binary
    ),
    **dict.fromkeys(["logical_and", "logical_or", "floor_divide", "remainder"], lower_binary),
    "logical_not": lower_not,
    "select": lower_select,
    "update": lower_update,
    "cast": lower_cast,
    "constant": lower_constant,
    "full": lower_full,
    "literal": lower_literal,
}
