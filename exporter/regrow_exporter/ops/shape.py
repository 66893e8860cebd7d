"""Reshape, permute, sums and means: import, gradients, ONNX."""

from collections.abc import Mapping, Sequence
from math import prod

from regrow.errors import UnsupportedError
from regrow.ops.schema import flag, ints
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Size
from regrow_exporter.onnx_builder import OnnxBuilder, i64
from regrow_exporter.ops.logic import as_dtype


def import_flatten(context: Context, a: Arguments) -> str:
    shape = context.graph.shape(a["self"])
    start, end = a["start_dim"] % len(shape), a["end_dim"] % len(shape)
    merged = _merge(shape[start : end + 1])
    return context.graph.one("reshape", a["self"], shape=(*shape[:start], merged, *shape[end + 1 :]))


def _merge(dims: Sequence[int]) -> int:
    """The product of dimensions, at most one of which depends on the batch (and so is negative)."""
    if sum(d < 0 for d in dims) > 1:
        raise UnsupportedError("two dimensions that both depend on the batch")
    return prod(dims)


def import_reshape(context: Context, a: Arguments) -> str:
    source, wanted = context.graph.shape(a["self"]), a.get("shape", a.get("size"))
    known = [d.value if isinstance(d, Size) else d if d >= 0 else None for d in wanted]
    if None in known:
        rest = _merge([d for d in known if d is not None])
        known = [_merge(source) // rest if d is None else d for d in known]
    return context.graph.one("reshape", a["self"], shape=tuple(int(d) for d in known if d is not None))


def import_permute(context: Context, a: Arguments) -> str:
    rank = len(a["dims"])
    return context.graph.one("permute", a["self"], order=tuple(d % rank for d in a["dims"]))


def import_transpose(context: Context, a: Arguments) -> str:
    order = list(range(len(context.graph.shape(a["self"]))))
    i, j = a["dim0"] % len(order), a["dim1"] % len(order)
    order[i], order[j] = order[j], order[i]
    return context.graph.one("permute", a["self"], order=tuple(order))


def _import_reduce(context: Context, a: Arguments, kind: str) -> str:
    rank = len(context.graph.shape(a["self"]))
    axes = range(rank) if a.get("dim") is None else sorted(d % rank for d in a["dim"])
    return context.graph.one(kind, a["self"], axes=tuple(axes), keepdims=bool(a.get("keepdim")))


def import_mean(context: Context, a: Arguments) -> str:
    return _import_reduce(context, a, "reduce_mean")


def import_sum(context: Context, a: Arguments) -> str:
    g, dtype = context.graph, context.graph.values[a["self"]].dtype
    # Truth values and whole numbers are counted in floats, which is exact up to 2**24 of them.
    summed = _import_reduce(context, {**a, "self": as_dtype(g, a["self"], "float32")}, "reduce_sum")
    return as_dtype(g, summed, "float32" if dtype == "float32" or a["dtype"] else "int64")


def vjp_reshape(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("reshape", dys[0], shape=g.shape(op.inputs[0]))]


def vjp_permute(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    order = ints(op.attrs, "order")
    return [g.one("permute", dys[0], order=tuple(order.index(i) for i in range(len(order))))]


def vjp_reduce(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one(f"{op.kind}_back", dys[0], op.inputs[0], **op.attrs)]


def emit_reshape(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Reshape", ins[0], i64(*[d if d >= 0 else -1 for d in ints(op.attrs, "shape")]))]


def emit_permute(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Transpose", ins[0], perm=list(ints(op.attrs, "order")))]


def emit_reduce_sum(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("ReduceSum", ins[0], i64(*ints(op.attrs, "axes")), keepdims=flag(op.attrs, "keepdims"))]


def emit_reduce_mean(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("ReduceMean", ins[0], i64(*ints(op.attrs, "axes")), keepdims=flag(op.attrs, "keepdims"))]


def _spread(b: OnnxBuilder, ins: Sequence[str], op: Op) -> str:
    dy, x = ins
    if not op.attrs["keepdims"]:
        dy = b.node("Unsqueeze", dy, i64(*ints(op.attrs, "axes")))
    return b.node("Expand", dy, b.node("Shape", x))


def emit_reduce_sum_back(
    b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]
) -> list[str]:
    return [_spread(b, ins, op)]


def emit_reduce_mean_back(
    b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]
) -> list[str]:
    sizes = [b.node("Cast", b.node("Size", name), to=1) for name in ins]
    scaled = b.node("Mul", ins[0], b.node("Div", *sizes))
    return [_spread(b, [scaled, ins[1]], op)]


IMPORT = {
    "aten.flatten.using_ints": import_flatten,
    "aten.reshape.default": import_reshape,
    "aten.view.default": import_reshape,
    "aten.permute.default": import_permute,
    "aten.transpose.int": import_transpose,
    "aten.mean.dim": import_mean,
    "aten.mean.default": import_mean,
    "aten.sum.dim_IntList": import_sum,
    "aten.sum.default": import_sum,
}
VJP = {"reshape": vjp_reshape, "permute": vjp_permute, "reduce_sum": vjp_reduce, "reduce_mean": vjp_reduce}
ONNX = {
    "reshape": emit_reshape,
    "permute": emit_permute,
    "reduce_sum": emit_reduce_sum,
    "reduce_mean": emit_reduce_mean,
    "reduce_sum_back": emit_reduce_sum_back,
    "reduce_mean_back": emit_reduce_mean_back,
}
