"""Lowering of ops that move, sum, pool or judge: all in plain layout."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from regrow.ops.schema import flag, ints, number
from regrow.plan.builder import Buffer, Builder, bits, maybe, strides
from regrow.plan.pointwise import Lower, alias, collapsed
from regrow.program import Op


def lower_reshape(b: Builder, op: Op) -> None:
    source, target = b.shape(op.inputs[0]), b.shape(op.outputs[0])
    if source == target:
        return alias(b, op)
    b.plain(op.inputs[0])
    place = b.find(op.inputs[0], plain=True)
    assert place is not None
    b.put(op.outputs[0], place)
    return None


def _copy(
    b: Builder,
    item: int,
    to: tuple[Buffer, int, Sequence[int]],
    source: tuple[Buffer, int, Sequence[int]],
    shape: Sequence[int],
) -> None:
    """Elements from one strided place to another: (buffer, first element, strides)."""
    sizes, (sy, sx) = collapsed(shape, to[2], source[2])
    words = (item, to[0], source[0], to[1], source[1], len(sizes), *sizes, *sy, *sx)
    b.emit("copy", words, (source[0],), (to[0],))


def lower_permute(b: Builder, op: Op) -> None:
    x, y, shape = b.plain(op.inputs[0]), b.new(op.outputs[0]), b.shape(op.outputs[0])
    own = strides(b.shape(op.inputs[0]))
    moved = [own[i] for i in ints(op.attrs, "order")]
    _copy(b, b.item(op.inputs[0]), (y, 0, strides(shape)), (x, 0, moved), shape)


def lower_expand(b: Builder, op: Op) -> None:
    _spread(b, op, b.shape(op.inputs[0]))


def _spread(b: Builder, op: Op, shape: Sequence[int]) -> None:
    out = b.shape(op.outputs[0])
    own = strides(shape)
    steps = (0,) * (len(out) - len(shape)) + tuple(
        0 if d == 1 else s for d, s in zip(shape, own, strict=True)
    )
    x, y = b.plain(op.inputs[0]), b.new(op.outputs[0])
    _copy(b, b.item(op.inputs[0]), (y, 0, strides(out)), (x, 0, steps), out)


def lower_slice(b: Builder, op: Op) -> None:
    axis, start, step = (int(str(op.attrs[k])) for k in ("axis", "start", "step"))
    x, y, shape = b.plain(op.inputs[0]), b.new(op.outputs[0]), b.shape(op.outputs[0])
    own = list(strides(b.shape(op.inputs[0])))
    first = start * own[axis]
    own[axis] *= step
    _copy(b, b.item(op.inputs[0]), (y, 0, strides(shape)), (x, first, own), shape)


def lower_slice_back(b: Builder, op: Op) -> None:
    axis, start, step = (int(str(op.attrs[k])) for k in ("axis", "start", "step"))
    dy, dx, shape = b.plain(op.inputs[0]), b.new(op.outputs[0]), b.shape(op.inputs[0])
    item = b.item(op.inputs[0])
    b.emit("fill", (item, dx, b.size(op.outputs[0]), 0, 0), (), (dx,))
    own = list(strides(b.shape(op.outputs[0])))
    first = start * own[axis]
    own[axis] *= step
    _copy(b, item, (dx, first, own), (dy, 0, strides(shape)), shape)


def lower_concat(b: Builder, op: Op) -> None:
    axis, out = int(str(op.attrs["axis"])), b.shape(op.outputs[0])
    parts = [b.plain(name) for name in op.inputs]
    y, at = b.new(op.outputs[0]), 0
    for name, x in zip(op.inputs, parts, strict=True):
        shape = b.shape(name)
        _copy(b, b.item(name), (y, at * strides(out)[axis], strides(out)), (x, 0, strides(shape)), shape)
        at += shape[axis]


def lower_split(b: Builder, op: Op) -> None:
    axis, whole = int(str(op.attrs["axis"])), b.shape(op.inputs[0])
    x, at = b.plain(op.inputs[0]), 0
    for name, size in zip(op.outputs, ints(op.attrs, "sizes"), strict=True):
        if name:
            shape, y = b.shape(name), b.new(name)
            _copy(
                b, b.item(name), (y, 0, strides(shape)), (x, at * strides(whole)[axis], strides(whole)), shape
            )
        at += size


def lower_gather(b: Builder, op: Op) -> None:
    table, index = (b.plain(name) for name in op.inputs)
    shape, y = b.shape(op.inputs[0]), b.new(op.outputs[0])
    row = prod(shape[1:]) * b.item(op.inputs[0])
    b.emit("gather", (y, table, index, b.size(op.inputs[1]), shape[0], row), (table, index), (y,))


def lower_argsort(b: Builder, op: Op) -> None:
    shape, x, y = b.shape(op.inputs[0]), b.plain(op.inputs[0]), b.new(op.outputs[0])
    words = (y, x, prod(shape[:-1]), shape[-1], flag(op.attrs, "descending"), int(b.item(op.inputs[0]) == 8))
    b.emit("argsort", words, (x,), (y,))


def lower_reduce(b: Builder, op: Op) -> None:
    name, axes = op.inputs[0], ints(op.attrs, "axes")
    shape, place = b.shape(name), b.on_planes(name)
    summed = [i for i in axes if shape[i] != 1]
    wide = [i for i in range(len(shape)) if i != 1]
    if op.kind == "reduce_sum" and place is not None and place.planes is not None and list(axes) == wide:
        y = b.new(op.outputs[0])
        words = (y, place.buffer, *place.planes.extents, *place.planes.grid.view())
        b.emit("channel_sum", words, (place.buffer,), (y,))
        return
    x, y = b.plain(name), b.new(op.outputs[0])
    own = strides(shape)
    scale = 1.0 if op.kind == "reduce_sum" else 1 / prod(shape[i] for i in axes)
    kept = [i for i in range(len(shape)) if i not in axes]
    ks, (ka,) = collapsed([shape[i] for i in kept], [own[i] for i in kept])
    ss, (sa,) = collapsed([shape[i] for i in summed], [own[i] for i in summed])
    b.emit("reduce", (y, x, bits(scale), len(ks), len(ss), *ks, *ka, *ss, *sa), (x,), (y,))


def lower_reduce_back(b: Builder, op: Op) -> None:
    shape = list(b.shape(op.inputs[0]))
    if not op.attrs["keepdims"]:
        for axis in sorted(ints(op.attrs, "axes")):
            shape.insert(axis, 1)
    if op.kind == "reduce_sum_back":
        return _spread(b, op, shape)
    out, own = b.shape(op.outputs[0]), strides(shape)
    steps = tuple(0 if d == 1 else s for d, s in zip(shape, own, strict=True))
    x, y = b.plain(op.inputs[0]), b.new(op.outputs[0])
    share = b.number(max(prod(shape), 1) / prod(out))
    sizes, (sa,) = collapsed(out, steps)
    b.emit(
        "binary", ("binary:mul", y, x, share, len(sizes), *sizes, *sa, *[0] * len(sizes)), (x, share), (y,)
    )
    return None


def lower_softmax(b: Builder, op: Op) -> None:
    operands = [b.plain(name) for name in op.inputs]
    shape, axis = b.shape(op.inputs[0]), int(str(op.attrs["axis"])) % len(b.shape(op.inputs[0]))
    walk = (prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))
    y = b.new(op.outputs[0])
    back = "_back" if op.kind.endswith("_back") else ""
    b.emit(f"softmax{back}", (int(op.kind.startswith("log")), y, *operands, *walk), operands, (y,), operands)


def lower_normalize(b: Builder, op: Op) -> None:
    x, shape, axis = b.plain(op.inputs[0]), b.shape(op.inputs[0]), int(str(op.attrs["axis"]))
    y, *rstd = (b.new(name) for name in op.outputs if name)
    words = (y, *maybe(rstd), x, prod(shape[:axis]), prod(shape[axis:]), bits(number(op.attrs, "eps")))
    b.emit("normalize", words, (x,), (y, *rstd))


def lower_normalize_back(b: Builder, op: Op) -> None:
    operands = [b.plain(name) for name in op.inputs]
    shape, axis = b.shape(op.inputs[1]), int(str(op.attrs["axis"]))
    dx = b.new(op.outputs[0])
    b.emit("normalize_back", (dx, *operands, prod(shape[:axis]), prod(shape[axis:])), operands, (dx,))


def _windows(b: Builder, op: Op, x: Sequence[int], y: Sequence[int]) -> tuple[int, ...]:
    rest = (v for key in ("kernel", "stride", "padding") for v in ints(op.attrs, key))
    return (x[0] * x[1], *x[2:], *y[2:], *rest)


def lower_pool(b: Builder, op: Op) -> None:
    x = b.plain(op.inputs[0])
    y = b.new(op.outputs[0])
    words = (y, x, *_windows(b, op, b.shape(op.inputs[0]), b.shape(op.outputs[0])))
    if op.kind == "avg_pool2d":
        b.emit("pool_avg", (*words, int(bool(op.attrs["count_padding"]))), (x,), (y,))
    else:
        b.emit("pool_max", words, (x,), (y,))


def lower_pool_back(b: Builder, op: Op) -> None:
    shape = b.shape(op.outputs[0])
    windows = _windows(b, op, shape, b.shape(op.inputs[0]))
    dy = b.plain(op.inputs[0])
    if op.kind == "avg_pool2d_back":
        dx = b.new(op.outputs[0])
        b.emit("pool_avg_back", (dx, dy, *windows, int(bool(op.attrs["count_padding"]))), (dy,), (dx,))
        return
    x = b.plain(op.inputs[1])
    dx = b.new(op.outputs[0])
    b.emit("pool_max_back", (dx, dy, x, *windows), (dy, x), (dx,))


def lower_cross_entropy(b: Builder, op: Op) -> None:
    logits, y, active, *weight = (b.plain(name) for name in op.inputs)
    n, c = b.shape(op.inputs[0])
    loss = b.new(op.outputs[0])
    p = [b.new(op.outputs[1])] if len(op.outputs) > 1 and op.outputs[1] else []
    smoothing = bits(number(op.attrs, "smoothing")) if weight else 0
    words = (loss, *maybe(p), logits, y, active, *maybe(weight), n, c, smoothing)
    b.emit("cross_entropy", words, (logits, y, active, *weight), (loss, *p))


def lower_cross_entropy_back(b: Builder, op: Op) -> None:
    dloss, p, y, *soft = (b.plain(name) for name in op.inputs)
    n, c = b.shape(op.inputs[1])
    dx = b.new(op.outputs[0])
    smoothing = bits(number(op.attrs, "smoothing")) if soft else 0
    b.emit(
        "cross_entropy_back",
        (dx, dloss, p, y, *maybe(soft, 2), n, c, smoothing),
        (dloss, p, y, *soft),
        (dx,),
    )


def lower_pairs(b: Builder, op: Op) -> None:
    """bce, mse and their gradients."""
    operands = [b.plain(name) for name in op.inputs]
    y = b.new(op.outputs[0])
    b.emit(op.kind, (y, *operands, b.size(op.inputs[-1])), operands, (y,))


MOVES: dict[str, Lower] = {
    "reshape": lower_reshape,
    "permute": lower_permute,
    "expand": lower_expand,
    "slice": lower_slice,
    "slice_back": lower_slice_back,
    "concat": lower_concat,
    "split": lower_split,
    "gather": lower_gather,
    "argsort": lower_argsort,
    "reduce_sum": lower_reduce,
    "reduce_mean": lower_reduce,
    "reduce_sum_back": lower_reduce_back,
    "reduce_mean_back": lower_reduce_back,
    "softmax": lower_softmax,
    "softmax_back": lower_softmax,
    "log_softmax": lower_softmax,
    "log_softmax_back": lower_softmax,
    "normalize": lower_normalize,
    "normalize_back": lower_normalize_back,
    "max_pool2d": lower_pool,
    "avg_pool2d": lower_pool,
    "max_pool2d_back": lower_pool_back,
    "avg_pool2d_back": lower_pool_back,
    "cross_entropy": lower_cross_entropy,
    "cross_entropy_soft": lower_cross_entropy,
    "cross_entropy_back": lower_cross_entropy_back,
    "cross_entropy_soft_back": lower_cross_entropy_back,
    "bce": lower_pairs,
    "bce_back": lower_pairs,
    "mse": lower_pairs,
    "mse_back": lower_pairs,
}
