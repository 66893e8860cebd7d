"""Joining and taking apart along one axis: import, gradients, ONNX."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import prod

from regrow.errors import UnsupportedError
from regrow.ops.schema import ints
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder, i64
from regrow_exporter.ops.fill import filled
from regrow_exporter.ops.logic import promoted


def import_cat(context: Context, a: Arguments) -> str:
    g, values = context.graph, promoted(context.graph, a["tensors"], "bool")
    axis = a["dim"] % len(g.shape(values[0]))
    if len(values) > 1 and any(g.shape(value)[axis] < 0 for value in values):
        raise UnsupportedError("joining batches; give a sample all that belongs to it along another axis")
    return values[0] if len(values) == 1 else g.one("concat", *values, axis=axis)


def import_stack(context: Context, a: Arguments) -> str:
    g, values = context.graph, promoted(context.graph, a["tensors"], "bool")
    axis = a["dim"] % (len(g.shape(values[0])) + 1)
    rows = [inserted(g, value, axis) for value in values]
    return rows[0] if len(rows) == 1 else g.one("concat", *rows, axis=axis)


def inserted(g: Graph, value: str, axis: int) -> str:
    """The value with one more axis of size 1."""
    shape = g.shape(value)
    return g.one("reshape", value, shape=(*shape[:axis], 1, *shape[axis:]))


def dropped(g: Graph, value: str, axis: int) -> str:
    """The value without this axis of size 1."""
    shape = g.shape(value)
    return g.one("reshape", value, shape=(*shape[:axis], *shape[axis + 1 :]))


def import_unsqueeze(context: Context, a: Arguments) -> str:
    return inserted(context.graph, a["self"], a["dim"] % (len(context.graph.shape(a["self"])) + 1))


def import_squeeze(context: Context, a: Arguments) -> str:
    """Axes of size 1; the batch is never one of them, however few samples there are."""
    g, value = context.graph, str(a["self"])
    rank = len(g.shape(value))
    dims = a.get("dim", range(rank))
    for axis in sorted({d % rank for d in ([dims] if isinstance(dims, int) else dims)}, reverse=True):
        if g.shape(value)[axis] == 1:
            value = dropped(g, value, axis)
    return value


def import_unflatten(context: Context, a: Arguments) -> str:
    g = context.graph
    shape = g.shape(a["self"])
    axis = a["dim"] % len(shape)
    known = prod(d for d in a["sizes"] if d != -1)
    sizes = [shape[axis] // known if d == -1 else d for d in a["sizes"]]
    return g.one("reshape", a["self"], shape=(*shape[:axis], *sizes, *shape[axis + 1 :]))


def _taken(g: Graph, value: str, axis: int, start: int, stop: int, step: int = 1) -> str:
    size = g.shape(value)[axis]
    if (start, stop, step) == (0, size, 1):
        return value
    if size < 0:
        raise UnsupportedError("a part of the batch; samples are adapted to together")
    if not 0 <= start < stop <= size:
        raise UnsupportedError(f"elements {start} to {stop} of an axis of {size}")
    joined = _joined_part(g, value, axis, start, stop) if step == 1 else None
    return joined or g.one("slice", value, axis=axis, start=start, stop=stop, step=step)


def _joined_part(g: Graph, value: str, axis: int, start: int, stop: int) -> str | None:
    """The one of several joined values that lies here: the last output of an unrolled layer, for one."""
    made = g.makers.get(value)
    if made is None or made.kind != "concat" or made.attrs["axis"] != axis:
        return None
    ends = [0, *accumulate(g.shape(part)[axis] for part in made.inputs)]
    at = bisect_right(ends, start) - 1
    return made.inputs[at] if ends[at : at + 2] == [start, stop] else None


def import_slice(context: Context, a: Arguments) -> str:
    g, value = context.graph, str(a["self"])
    axis = a["dim"] % len(g.shape(value))
    size = g.shape(value)[axis]
    if any(not isinstance(a[key], int | None) for key in ("start", "end")):
        raise UnsupportedError("bounds that depend on the batch")
    start, stop = a["start"] or 0, size if a["end"] is None or a["end"] > 2**62 else a["end"]
    if size >= 0:
        start, stop, _ = slice(start, stop).indices(size)
    return _taken(g, value, axis, start, stop, a["step"])


def import_narrow(context: Context, a: Arguments) -> str:
    g, value = context.graph, str(a["self"])
    axis = a["dim"] % len(g.shape(value))
    start = a["start"] % g.shape(value)[axis]
    return _taken(g, value, axis, start, start + a["length"])


def import_select(context: Context, a: Arguments) -> str:
    g, value = context.graph, str(a["self"])
    axis = a["dim"] % len(g.shape(value))
    if g.shape(value)[axis] < 0:
        raise UnsupportedError("one sample of the batch; samples are adapted to together")
    at = a["index"] % g.shape(value)[axis]
    return dropped(g, _taken(g, value, axis, at, at + 1), axis)


def parts(g: Graph, value: str, axis: int, sizes: Sequence[int]) -> tuple[str, ...]:
    """Consecutive pieces of these sizes."""
    if g.shape(value)[axis] < 0:
        raise UnsupportedError("parts of the batch; samples are adapted to together")
    if len(sizes) == 1:
        return (value,)
    return g.apply("split", [value], len(sizes), axis=axis, sizes=tuple(sizes))


def import_split(context: Context, a: Arguments) -> tuple[str, ...]:
    """split, split_with_sizes and chunk: a size, sizes, or a number of pieces."""
    g, value = context.graph, str(a["self"])
    axis = a["dim"] % len(g.shape(value))
    total = g.shape(value)[axis]
    asked = a.get("split_sizes", a.get("split_size"))
    if isinstance(asked, list):
        return parts(g, value, axis, asked)
    step = -(-total // a["chunks"]) if asked is None else asked
    return parts(g, value, axis, [min(step, total - at) for at in range(0, total, step)])


def import_unbind(context: Context, a: Arguments) -> tuple[str, ...]:
    g, value = context.graph, str(a["self"])
    axis = a["dim"] % len(g.shape(value))
    return tuple(dropped(g, p, axis) for p in parts(g, value, axis, [1] * g.shape(value)[axis]))


def import_index_select(context: Context, a: Arguments) -> str:
    if a["dim"] % max(len(context.graph.shape(a["self"])), 1):
        raise UnsupportedError("index_select along another axis than the first")
    return context.graph.one("gather", a["self"], a["index"])


def import_gather(context: Context, a: Arguments) -> str:
    if len(context.graph.shape(a["self"])) != 1:
        raise UnsupportedError("gather from more than one dimension; use index_select")
    return context.graph.one("gather", a["self"], a["index"])


def import_index(context: Context, a: Arguments) -> str:
    if len(a["indices"]) != 1 or context.graph.values[a["indices"][0]].dtype != "int64":
        raise UnsupportedError("indexing by anything but row numbers of the first axis")
    return context.graph.one("gather", a["self"], a["indices"][0])


def vjp_concat(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    axis = int(str(op.attrs["axis"]))
    grads = parts(g, dys[0], axis, [g.shape(name)[axis] for name in op.inputs])
    return [dx if wanted else "" for dx, wanted in zip(grads, need, strict=True)]


def vjp_split(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    whole = [dy or filled(g, g.shape(y), 0.0) for dy, y in zip(dys, op.outputs, strict=True)]
    return [g.one("concat", *whole, axis=op.attrs["axis"])]


def vjp_slice(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    size = g.shape(op.inputs[0])[int(str(op.attrs["axis"]))]
    return [g.one("slice_back", dys[0], size=size, **op.attrs)]


def emit_concat(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Concat", *ins, axis=op.attrs["axis"])]


def emit_split(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    sizes = ints(op.attrs, "sizes")
    return b.multi("Split", [ins[0], i64(*sizes)], len(sizes), axis=op.attrs["axis"])


def _geometry(op: Op) -> tuple[int, int, int, int]:
    axis, start, stop, step = (int(str(op.attrs[k])) for k in ("axis", "start", "stop", "step"))
    return axis, start, stop, step


def emit_slice(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    axis, start, stop, step = _geometry(op)
    return [b.node("Slice", ins[0], i64(start), i64(stop), i64(axis), i64(step))]


def emit_slice_back(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    axis, start, _, step = _geometry(op)
    shape, size = values[op.inputs[0]].shape, int(str(op.attrs["size"]))
    dx, reached = ins[0], shape[axis]
    if step > 1:
        # Zeros between the elements: each becomes the first of a group of `step`.
        dx = b.node("Unsqueeze", dx, i64(axis + 1))
        dx = b.node("Pad", dx, i64(0, step - 1), "", i64(axis + 1))
        reached *= step
        merged = [*shape[:axis], reached, *shape[axis + 1 :]]
        dx = b.node("Reshape", dx, i64(*[d if d >= 0 else -1 for d in merged]))
    if start + reached > size:
        dx = b.node("Slice", dx, i64(0), i64(size - start), i64(axis))
        reached = size - start
    return [b.node("Pad", dx, i64(start, size - start - reached), "", i64(axis))]


def emit_gather(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Gather", *ins, axis=0)]


IMPORT = {
    "aten.cat.default": import_cat,
    "aten.concat.default": import_cat,
    "aten.stack.default": import_stack,
    "aten.unsqueeze.default": import_unsqueeze,
    "aten.squeeze.default": import_squeeze,
    "aten.squeeze.dim": import_squeeze,
    "aten.squeeze.dims": import_squeeze,
    "aten.unflatten.int": import_unflatten,
    "aten.slice.Tensor": import_slice,
    "aten.narrow.default": import_narrow,
    "aten.select.int": import_select,
    "aten.split.Tensor": import_split,
    "aten.split_with_sizes.default": import_split,
    "aten.chunk.default": import_split,
    "aten.unbind.int": import_unbind,
    "aten.index_select.default": import_index_select,
    "aten.gather.default": import_gather,
    "aten.index.Tensor": import_index,
}
VJP = {"concat": vjp_concat, "split": vjp_split, "slice": vjp_slice}
ONNX = {
    "concat": emit_concat,
    "split": emit_split,
    "slice": emit_slice,
    "slice_back": emit_slice_back,
    "gather": emit_gather,
}
