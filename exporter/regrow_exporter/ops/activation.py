"""Pointwise activations: import, gradients, ONNX."""

from collections.abc import Mapping, Sequence

from regrow.ops.schema import number
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Importer
from regrow_exporter.onnx_builder import OnnxBuilder, f32


def _import(kind: str) -> Importer:
    return lambda context, a: context.graph.one(kind, a["self"])


def import_leaky_relu(context: Context, a: Arguments) -> str:
    return context.graph.one("leaky_relu", a["self"], slope=float(a["negative_slope"]))


def vjp_from_output(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one(f"{op.kind}_back", dys[0], op.outputs[0], **op.attrs)]


def vjp_from_input(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one(f"{op.kind}_back", dys[0], op.inputs[0], **op.attrs)]


def emit_relu(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Relu", ins[0])]


def emit_relu_back(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Where", b.node("Greater", ins[1], f32(0)), ins[0], f32(0))]


def emit_leaky_relu(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("LeakyRelu", ins[0], alpha=number(op.attrs, "slope"))]


def emit_leaky_relu_back(
    b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]
) -> list[str]:
    sloped = b.node("Mul", ins[0], f32(number(op.attrs, "slope")))
    return [b.node("Where", b.node("Greater", ins[1], f32(0)), ins[0], sloped)]


def emit_tanh(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Tanh", ins[0])]


def emit_tanh_back(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    dy, y = ins
    return [b.node("Mul", dy, b.node("Sub", f32(1), b.node("Mul", y, y)))]


IMPORT = {
    "aten.relu.default": _import("relu"),
    "aten.relu_.default": _import("relu"),
    "aten.tanh.default": _import("tanh"),
    "aten.leaky_relu.default": import_leaky_relu,
}
VJP = {"relu": vjp_from_output, "tanh": vjp_from_output, "leaky_relu": vjp_from_input}
ONNX = {
    "relu": emit_relu,
    "relu_back": emit_relu_back,
    "leaky_relu": emit_leaky_relu,
    "leaky_relu_back": emit_leaky_relu_back,
    "tanh": emit_tanh,
    "tanh_back": emit_tanh_back,
}
