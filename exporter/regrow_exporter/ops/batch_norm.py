"""Batch normalisation: import, gradients, ONNX."""

from collections.abc import Mapping, Sequence

import numpy as np

from regrow.ops.schema import number
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder, f32, i64
from regrow_exporter.ops.normalize import channel_vectors


def import_batch_norm(context: Context, a: Arguments) -> str:
    inputs = [a["input"], *channel_vectors(context.graph, a["input"], a["weight"], a["bias"])]
    if not a["training"]:
        return context.graph.one(
            "batch_norm_frozen", *inputs, a["running_mean"], a["running_var"], eps=a["eps"]
        )
    y, mean, var = context.graph.apply("batch_norm", inputs, 3, eps=a["eps"])
    name, uses = context.module, 1
    while name in context.statistics:  # a norm that is used again has other statistics there
        uses += 1
        name = f"{context.module}@{uses}"
    context.statistics[name] = (mean, var)
    return y


def vjp_batch_norm(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    x, gamma, _ = op.inputs
    inputs = [dys[0], x, gamma, *op.outputs[1:]]
    grads = g.apply("batch_norm_back", inputs, 3, eps=op.attrs["eps"])
    return [name if wanted else "" for name, wanted in zip(grads, need, strict=True)]


def vjp_batch_norm_frozen(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    x, gamma, _, mean, var = op.inputs
    grads = g.apply("batch_norm_frozen_back", [dys[0], x, gamma, mean, var], 3, eps=op.attrs["eps"])
    return [name if wanted else "" for name, wanted in zip((*grads, "", ""), need, strict=True)]


def emit_batch_norm(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    # Explicit statistics and the inference op: onnxruntime's training mode lets nodes that share a constant
    # overwrite each other's running statistics (microsoft/onnxruntime#29790).
    x, gamma, beta = ins
    shape = values[op.inputs[0]]
    mean = b.node("ReduceMean", x, _axes(shape), keepdims=0)
    centred = _centred(b, x, mean, shape)
    var = b.node("ReduceMean", b.node("Mul", centred, centred), _axes(shape), keepdims=0)
    if not op.outputs[0]:
        return ["", mean, var]
    none = np.zeros(shape.shape[1], np.float32)
    y = b.node("BatchNormalization", centred, gamma, beta, none, var, epsilon=number(op.attrs, "eps"))
    return [y, mean, var]


def emit_batch_norm_frozen(
    b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]
) -> list[str]:
    return [b.node("BatchNormalization", *ins, epsilon=number(op.attrs, "eps"))]


def emit_batch_norm_back(
    b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]
) -> list[str]:
    dy, x, _, mean, _ = ins
    shape = values[op.inputs[1]]
    dbeta, dgamma, scale, rstd = _sums(b, ins, op, shape)
    if not op.outputs[0]:
        return ["", dgamma, dbeta]
    count = b.node("Div", b.node("Cast", b.node("Size", x), to=1), f32(shape.shape[1]))
    slope = b.node("Neg", b.node("Div", b.node("Mul", b.node("Mul", scale, rstd), dgamma), count))
    offset = b.node("Neg", b.node("Div", b.node("Mul", scale, dbeta), count))
    # dx = scale * dy + slope * (x - mean) + offset; the affine part is one BatchNormalization.
    unit = [np.full(shape.shape[1], value, np.float32) for value in (0, 1)]
    affine = b.node("BatchNormalization", _centred(b, x, mean, shape), slope, offset, *unit, epsilon=0.0)
    return [b.node("Add", b.node("Mul", dy, _column(b, scale, shape)), affine), dgamma, dbeta]


def emit_batch_norm_frozen_back(
    b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]
) -> list[str]:
    shape = values[op.inputs[1]]
    dbeta, dgamma, scale, _ = _sums(b, ins, op, shape)
    dx = b.node("Mul", ins[0], _column(b, scale, shape)) if op.outputs[0] else ""
    return [dx, dgamma, dbeta]


def _sums(b: OnnxBuilder, ins: Sequence[str], op: Op, shape: Value) -> tuple[str, str, str, str]:
    """dbeta, dgamma, gamma * rstd, rstd."""
    dy, x, gamma, mean, var = ins
    axes = _axes(shape)
    rstd = b.node("Reciprocal", b.node("Sqrt", b.node("Add", var, f32(number(op.attrs, "eps")))))
    dbeta = b.node("ReduceSum", dy, axes, keepdims=0)
    product = b.node("Mul", dy, _centred(b, x, mean, shape))
    dgamma = b.node("Mul", b.node("ReduceSum", product, axes, keepdims=0), rstd)
    return dbeta, dgamma, b.node("Mul", gamma, rstd), rstd


def _centred(b: OnnxBuilder, x: str, mean: str, shape: Value) -> str:
    """The same node in a forward pass and its gradient, so x itself need not be kept."""
    return b.node("Sub", x, _column(b, mean, shape))


def _axes(x: Value) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return i64(0, *range(2, len(x.shape)))


def _column(b: OnnxBuilder, vector: str, like: Value) -> str:
    return b.node("Reshape", vector, i64(1, -1, *[1] * (len(like.shape) - 2)))


IMPORT = {"aten.batch_norm.default": import_batch_norm}
VJP = {"batch_norm": vjp_batch_norm, "batch_norm_frozen": vjp_batch_norm_frozen}
ONNX = {
    "batch_norm": emit_batch_norm,
    "batch_norm_back": emit_batch_norm_back,
    "batch_norm_frozen": emit_batch_norm_frozen,
    "batch_norm_frozen_back": emit_batch_norm_frozen_back,
}
