"""linear and matmul: import, gradients, ONNX."""

from collections.abc import Mapping, Sequence

from regrow.errors import UnsupportedError
from regrow.ops.schema import flag
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder


def import_linear(context: Context, a: Arguments) -> str:
    if len(context.graph.shape(a["input"])) != 2:
        raise UnsupportedError("linear over more than (batch, features); flatten first")
    return context.graph.one("linear", a["input"], a["weight"], *([a["bias"]] if a["bias"] else []))


def vjp_linear(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    x, w = op.inputs[:2]
    dy = dys[0]
    grads = [
        g.one("matmul", dy, w, transpose_a=False, transpose_b=False) if need[0] else "",
        g.one("matmul", dy, x, transpose_a=True, transpose_b=False) if need[1] else "",
    ]
    if len(op.inputs) > 2:
        grads.append(g.one("reduce_sum", dy, axes=(0,), keepdims=False) if need[2] else "")
    return grads


def emit_linear(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Gemm", *ins, transB=1)]


def emit_matmul(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Gemm", *ins, transA=flag(op.attrs, "transpose_a"), transB=flag(op.attrs, "transpose_b"))]


IMPORT = {"aten.linear.default": import_linear}
VJP = {"linear": vjp_linear}
ONNX = {"linear": emit_linear, "matmul": emit_matmul}
