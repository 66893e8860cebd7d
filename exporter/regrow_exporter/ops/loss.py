"""Losses: import, gradients, ONNX."""

from collections.abc import Mapping, Sequence

import numpy as np

from regrow.errors import UnsupportedError
from regrow.ops.schema import number
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder, f32, i64
from regrow_exporter.ops.fill import filled

# Far below any logit, yet finite: 0 * -inf would poison the picked log-probabilities.
_OUT = -1e30


def import_cross_entropy(context: Context, a: Arguments) -> str:
    g, smoothing = context.graph, float(a["label_smoothing"])
    if a["reduction"] != 1 or a["ignore_index"] >= 0:
        raise UnsupportedError("a reduction other than the mean, or an ignored class")
    if g.values[a["target"]].dtype != "int64":
        raise UnsupportedError("targets that are probabilities; class numbers only")
    inputs = [a["self"], a["target"], context.targets["active"]]
    if not a["weight"] and not smoothing:
        return g.apply("cross_entropy", inputs, 2)[0]
    inputs.append(a["weight"] or filled(g, g.shape(a["self"])[1:], 1.0))
    return g.apply("cross_entropy_soft", inputs, 2, smoothing=smoothing)[0]


def import_bce(context: Context, a: Arguments) -> str:
    if a["reduction"] != 1 or a["weight"] or a["pos_weight"]:
        raise UnsupportedError("weights or a reduction other than the mean")
    return context.graph.one("bce", a["self"], a["target"])


def import_mse(context: Context, a: Arguments) -> str:
    if a["reduction"] != 1:
        raise UnsupportedError("a reduction other than the mean")
    return context.graph.one("mse", a["self"], a["target"])


def vjp_cross_entropy(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("cross_entropy_back", dys[0], op.outputs[1], op.inputs[1]), "", ""]


def vjp_cross_entropy_soft(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    back = g.one("cross_entropy_soft_back", dys[0], op.outputs[1], *op.inputs[1:], **op.attrs)
    return [back, "", "", ""]


def vjp_bce(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("bce_back", dys[0], *op.inputs), ""]


def vjp_mse(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("mse_back", dys[0], *op.inputs), ""]


def _one_hot(b: OnnxBuilder, y: str, classes: int) -> str:
    column = b.node("Unsqueeze", y, i64(1))
    return b.node("Cast", b.node("Equal", column, np.arange(classes, dtype=np.int64)[None]), to=1)


def _log_softmax(b: OnnxBuilder, logits: str, active: str) -> str:
    return b.node("LogSoftmax", b.node("Where", active, logits, f32(_OUT)), axis=1)


def emit_cross_entropy(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    logits, y, active = ins
    log_p = _log_softmax(b, logits, active)
    hot = _one_hot(b, y, values[op.inputs[0]].shape[1])
    rows = b.node("Cast", b.node("Size", y), to=1)
    total = b.node("ReduceSum", b.node("Mul", log_p, hot), keepdims=0)
    probabilities = b.node("Exp", log_p) if op.outputs[1] else ""
    return [b.node("Neg", b.node("Div", total, rows)), probabilities]


def _soft_targets(b: OnnxBuilder, y: str, active: str, weight: str, op: Op, classes: int) -> tuple[str, str]:
    """What each output weighs in the loss of each sample, and what the sum is divided by."""
    smoothing = number(op.attrs, "smoothing")
    hot = b.node("Mul", _one_hot(b, y, classes), weight)
    total = b.node("ReduceSum", hot, keepdims=0)
    if not smoothing:
        return hot, total
    used = b.node("Cast", active, to=1)
    each = b.node("Div", b.node("Mul", used, f32(smoothing)), b.node("ReduceSum", used, keepdims=0))
    sharp = b.node("Mul", hot, f32(1 - smoothing))
    return b.node("Add", sharp, b.node("Mul", each, weight)), total


def emit_cross_entropy_soft(
    b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]
) -> list[str]:
    logits, y, active, weight = ins
    share, total = _soft_targets(b, y, active, weight, op, values[op.inputs[0]].shape[1])
    log_p = _log_softmax(b, logits, active)
    summed = b.node("ReduceSum", b.node("Mul", log_p, share), keepdims=0)
    return [b.node("Neg", b.node("Div", summed, total)), b.node("Exp", log_p) if op.outputs[1] else ""]


def emit_cross_entropy_soft_back(
    b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]
) -> list[str]:
    dloss, p, y, active, weight = ins
    share, total = _soft_targets(b, y, active, weight, op, values[op.inputs[1]].shape[1])
    expected = b.node("Mul", p, b.node("ReduceSum", share, i64(1), keepdims=1))
    return [b.node("Mul", b.node("Sub", expected, share), b.node("Div", dloss, total))]


def emit_bce(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    x, y = ins
    # Two parts that are both small where the answer is right, so that nothing large cancels.
    linear = b.node("Sub", b.node("Relu", x), b.node("Mul", x, y))
    curved = b.node("Softplus", b.node("Neg", b.node("Abs", x)))
    return [b.node("ReduceMean", b.node("Add", linear, curved), keepdims=0)]


def emit_bce_back(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    dloss, x, y = ins
    share = b.node("Div", dloss, b.node("Cast", b.node("Size", x), to=1))
    return [b.node("Mul", b.node("Sub", b.node("Sigmoid", x), y), share)]


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


IMPORT = {
    "aten.cross_entropy_loss.default": import_cross_entropy,
    "aten.binary_cross_entropy_with_logits.default": import_bce,
    "aten.mse_loss.default": import_mse,
}
VJP = {
    "cross_entropy": vjp_cross_entropy,
    "cross_entropy_soft": vjp_cross_entropy_soft,
    "bce": vjp_bce,
    "mse": vjp_mse,
}
ONNX = {
    "cross_entropy": emit_cross_entropy,
    "cross_entropy_back": emit_cross_entropy_back,
    "cross_entropy_soft": emit_cross_entropy_soft,
    "cross_entropy_soft_back": emit_cross_entropy_soft_back,
    "bce": emit_bce,
    "bce_back": emit_bce_back,
    "mse": emit_mse,
    "mse_back": emit_mse_back,
}
