"""softmax and log_softmax: import, gradients, ONNX."""

from collections.abc import Mapping, Sequence

from regrow.errors import UnsupportedError
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder, i64


def _import(context: Context, a: Arguments, kind: str) -> str:
    shape = context.graph.shape(a["self"])
    axis = int(a["dim"]) % max(len(shape), 1)
    if a["dtype"] is not None or not shape or shape[axis] < 0:
        raise UnsupportedError("another dtype, or over the batch; use a dimension within a sample, no dtype")
    return context.graph.one(kind, a["self"], axis=axis)


def import_softmax(context: Context, a: Arguments) -> str:
    return _import(context, a, "softmax")


def import_log_softmax(context: Context, a: Arguments) -> str:
    return _import(context, a, "log_softmax")


def vjp_from_output(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one(f"{op.kind}_back", dys[0], op.outputs[0], **op.attrs)]


def emit_softmax(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Softmax", ins[0], axis=op.attrs["axis"])]


def emit_log_softmax(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("LogSoftmax", ins[0], axis=op.attrs["axis"])]


def _sum(b: OnnxBuilder, x: str, op: Op) -> str:
    return b.node("ReduceSum", x, i64(int(str(op.attrs["axis"]))), keepdims=1)


def emit_softmax_back(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    dy, y = ins
    share = b.node("Mul", dy, y)
    return [b.node("Sub", share, b.node("Mul", y, _sum(b, share, op)))]


def emit_log_softmax_back(
    b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]
) -> list[str]:
    dy, y = ins
    return [b.node("Sub", dy, b.node("Mul", b.node("Exp", y), _sum(b, dy, op)))]


IMPORT = {"aten.softmax.int": import_softmax, "aten.log_softmax.int": import_log_softmax}
VJP = {"softmax": vjp_from_output, "log_softmax": vjp_from_output}
ONNX = {
    "softmax": emit_softmax,
    "softmax_back": emit_softmax_back,
    "log_softmax": emit_log_softmax,
    "log_softmax_back": emit_log_softmax_back,
}
