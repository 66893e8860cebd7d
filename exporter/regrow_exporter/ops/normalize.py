"""Layer, group and instance norm, all by one op over trailing dimensions: import, gradient, ONNX."""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from regrow.ops.schema import number
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder, f32, i64
from regrow_exporter.ops.fill import filled


def import_layer_norm(context: Context, a: Arguments) -> str:
    g, x = context.graph, a["input"]
    axis = len(g.shape(x)) - len(a["normalized_shape"])
    return _affine(g, _normalize(g, x, axis, a["eps"]), a["weight"], a["bias"])


def import_group_norm(context: Context, a: Arguments) -> str:
    g, shape, groups = context.graph, context.graph.shape(a["input"]), int(a["num_groups"])
    x = g.one("reshape", a["input"], shape=(shape[0], groups, prod(shape[1:]) // groups))
    y = g.one("reshape", _normalize(g, x, 2, a["eps"]), shape=shape)
    return _channels(g, y, a)


def import_instance_norm(context: Context, a: Arguments) -> str:
    g = context.graph
    if a["use_input_stats"]:
        return _channels(g, _normalize(g, a["input"], 2, a["eps"]), a)
    vectors = channel_vectors(g, a["input"], a["weight"], a["bias"])
    statistics = (a["running_mean"], a["running_var"])
    return g.one("batch_norm_frozen", a["input"], *vectors, *statistics, eps=a["eps"])


def channel_vectors(g: Graph, x: str, weight: str | None, bias: str | None) -> tuple[str, str]:
    """Scale and shift per channel; a norm without them scales by one and shifts by nothing."""
    width = (g.shape(x)[1],)
    return weight or filled(g, width, 1.0), bias or filled(g, width, 0.0)


def _normalize(g: Graph, x: str, axis: int, eps: float) -> str:
    return g.apply("normalize", [x], 2, axis=axis, eps=float(eps))[0]


def _channels(g: Graph, y: str, a: Arguments) -> str:
    """Scale and shift of the second dimension."""
    shape = g.shape(y)
    column = (shape[1], *[1] * (len(shape) - 2))
    vectors = [g.one("reshape", v, shape=column) if v else None for v in (a["weight"], a["bias"])]
    return _affine(g, y, *vectors)


def _affine(g: Graph, y: str, weight: str | None, bias: str | None) -> str:
    y = g.one("mul", y, weight) if weight else y
    return g.one("add", y, bias) if bias else y


def vjp_normalize(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("normalize_back", dys[0], *op.outputs, axis=op.attrs["axis"])]


def _axes(op: Op, values: Mapping[str, Value]) -> NDArray[np.int64]:
    return i64(*range(int(str(op.attrs["axis"])), len(values[op.inputs[0]].shape)))


def emit_normalize(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    # Not LayerNormalization: up to 1.22 at least, onnxruntime's takes the variance as a difference of two
    # large numbers, off by a thousandth where the mean is ten times the deviation.
    axes = _axes(op, values)
    centred = b.node("Sub", ins[0], b.node("ReduceMean", ins[0], axes, keepdims=1))
    var = b.node("ReduceMean", b.node("Mul", centred, centred), axes, keepdims=1)
    rstd = b.node("Reciprocal", b.node("Sqrt", b.node("Add", var, f32(number(op.attrs, "eps")))))
    return [b.node("Mul", centred, rstd), rstd]


def emit_normalize_back(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    dy, y, rstd = ins
    axes = _axes(op, values)
    along = b.node("ReduceMean", b.node("Mul", dy, y), axes, keepdims=1)
    centred = b.node("Sub", dy, b.node("ReduceMean", dy, axes, keepdims=1))
    return [b.node("Mul", b.node("Sub", centred, b.node("Mul", y, along)), rstd)]


IMPORT = {
    "aten.layer_norm.default": import_layer_norm,
    "aten.group_norm.default": import_group_norm,
    "aten.instance_norm.default": import_instance_norm,
}
VJP = {"normalize": vjp_normalize}
ONNX = {"normalize": emit_normalize, "normalize_back": emit_normalize_back}
