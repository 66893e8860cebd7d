"""Losses: import, gradients, ONNX."""

from collections.abc import Mapping, Sequence

import numpy as np

from regrow.errors import UnsupportedError
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder, f32, i64

# Far below any logit, yet finite: 0 * -inf would poison the picked log-probabilities.
_OUT = -1e30


def import_cross_entropy(context: Context, a: Arguments) -> str:
    if a["weight"] or a["reduction"] != 1 or a["label_smoothing"]:
        raise UnsupportedError("class weights, label smoothing or a reduction other than the mean")
    inputs = (a["self"], a["target"], context.targets["active"])
    return context.graph.apply("cross_entropy", inputs, 2)[0]


def import_mse(context: Context, a: Arguments) -> str:
    if a["reduction"] != 1:
        raise UnsupportedError("a reduction other than the mean")
    return context.graph.one("mse", a["self"], a["target"])


def vjp_cross_entropy(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("cross_entropy_back", dys[0], op.outputs[1], op.inputs[1]), "", ""]


def vjp_mse(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("mse_back", dys[0], *op.inputs), ""]


def _one_hot(b: OnnxBuilder, y: str, classes: int) -> str:
    column = b.node("Unsqueeze", y, i64(1))
    return b.node("Cast", b.node("Equal", column, np.arange(classes, dtype=np.int64)[None]), to=1)


def emit_cross_entropy(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    logits, y, active = ins
    masked = b.node("Where", active, logits, f32(_OUT))
    log_p = b.node("LogSoftmax", masked, axis=1)
    hot = _one_hot(b, y, values[op.inputs[0]].shape[1])
    rows = b.node("Cast", b.node("Size", y), to=1)
    total = b.node("ReduceSum", b.node("Mul", log_p, hot), keepdims=0)
    probabilities = b.node("Exp", log_p) if op.outputs[1] else ""
    return [b.node("Neg", b.node("Div", total, rows)), probabilities]


def emit_cross_entropy_back(
    b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]
) -> list[str]:
    dloss, p, y = ins
    hot = _one_hot(b, y, values[op.inputs[1]].shape[1])
    rows = b.node("Cast", b.node("Size", y), to=1)
    return [b.node("Mul", b.node("Sub", p, hot), b.node("Div", dloss, rows))]


def emit_mse(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    gap = b.node("Sub", *ins)
    return [b.node("ReduceMean", b.node("Mul", gap, gap), keepdims=0)]


def emit_mse_back(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    dloss, p, y = ins
    twice = b.node("Mul", dloss, f32(2))
    share = b.node("Div", twice, b.node("Cast", b.node("Size", p), to=1))
    return [b.node("Mul", b.node("Sub", p, y), share)]


IMPORT = {"aten.cross_entropy_loss.default": import_cross_entropy, "aten.mse_loss.default": import_mse}
VJP = {"cross_entropy": vjp_cross_entropy, "mse": vjp_mse}
ONNX = {
    "cross_entropy": emit_cross_entropy,
    "cross_entropy_back": emit_cross_entropy_back,
    "mse": emit_mse,
    "mse_back": emit_mse_back,
}
