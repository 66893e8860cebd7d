"""linear and matrix products: import, gradients, ONNX."""

from collections.abc import Mapping, Sequence
from math import prod

from regrow.errors import UnsupportedError
from regrow.ops.schema import flag
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder
from regrow_exporter.ops.arithmetic import narrow


def import_linear(context: Context, a: Arguments) -> str:
    return affine(context.graph, a["input"], a["weight"], a["bias"])


def affine(g: Graph, x: str, weight: str, bias: str | None) -> str:
    """x @ weight.T + bias over the last axis, the others being rows."""
    rows, lead = _rows(g, x)
    y = g.one("linear", rows, weight, *([bias] if bias else []))
    return y if len(lead) == 1 else g.one("reshape", y, shape=(*lead, g.shape(weight)[0]))


def _rows(g: Graph, x: str) -> tuple[str, tuple[int, ...]]:
    """A value as a matrix over its last axis, and the axes that became its rows."""
    *lead, width = g.shape(x)
    if len(lead) == 1:
        return x, tuple(lead)
    if sum(d < 0 for d in lead) > 1:
        raise UnsupportedError("two dimensions that both depend on the batch")
    return g.one("reshape", x, shape=(prod(lead), width)), tuple(lead)


def import_matmul(context: Context, a: Arguments) -> str:
    """torch's rules: a vector is a row on the left and a column on the right; leading axes broadcast."""
    g = context.graph
    left, right = str(a["self"]), str(a.get("other", a.get("mat2")))
    ranks = len(g.shape(left)), len(g.shape(right))
    left = left if ranks[0] > 1 else g.one("reshape", left, shape=(1, *g.shape(left)))
    right = right if ranks[1] > 1 else g.one("reshape", right, shape=(*g.shape(right), 1))
    y = product(g, left, right)
    shape = list(g.shape(y))
    if ranks[0] == 1:
        del shape[-2]
    if ranks[1] == 1:
        del shape[-1]
    return y if 1 not in ranks else g.one("reshape", y, shape=tuple(shape))


def product(g: Graph, left: str, right: str) -> str:
    """The product of matrices or batches of them; where one side is a single matrix, one large product."""
    if len(g.shape(right)) > 2:
        return g.one("batch_matmul", left, right)
    rows, lead = _rows(g, left)
    y = g.one("matmul", rows, right, transpose_a=False, transpose_b=False)
    return y if len(lead) == 1 else g.one("reshape", y, shape=(*lead, g.shape(right)[1]))


def import_addmm(context: Context, a: Arguments) -> str:
    if a["beta"] != 1 or a["alpha"] != 1:
        raise UnsupportedError("beta or alpha other than 1")
    return context.graph.one("add", product(context.graph, a["mat1"], a["mat2"]), a["self"])


def import_t(context: Context, a: Arguments) -> str:
    """All axes in reverse, which for a vector changes nothing."""
    rank = len(context.graph.shape(a["self"]))
    return context.graph.one("permute", a["self"], order=tuple(reversed(range(rank))))


def import_m_t(context: Context, a: Arguments) -> str:
    return turned(context.graph, a["self"])


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


def vjp_matmul(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    (a, b), dy = op.inputs, dys[0]
    ta, tb = bool(op.attrs["transpose_a"]), bool(op.attrs["transpose_b"])
    da = (b, dy, tb, True) if ta else (dy, b, False, not tb)
    db = (dy, a, True, ta) if tb else (a, dy, not ta, False)
    return [
        g.one("matmul", *pair, transpose_a=first, transpose_b=second) if wanted else ""
        for (*pair, first, second), wanted in zip((da, db), need, strict=True)
    ]


def turned(g: Graph, x: str) -> str:
    """The last two axes exchanged."""
    *lead, last, first = range(len(g.shape(x)))
    return g.one("permute", x, order=(*lead, first, last))


def vjp_batch_matmul(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    (a, b), dy = op.inputs, dys[0]
    return [
        narrow(g, g.one("batch_matmul", dy, turned(g, b)), a) if need[0] else "",
        narrow(g, g.one("batch_matmul", turned(g, a), dy), b) if need[1] else "",
    ]


def emit_linear(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Gemm", *ins, transB=1)]


def emit_matmul(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Gemm", *ins, transA=flag(op.attrs, "transpose_a"), transB=flag(op.attrs, "transpose_b"))]


def emit_batch_matmul(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("MatMul", *ins)]


IMPORT = {
    "aten.linear.default": import_linear,
    "aten.matmul.default": import_matmul,
    "aten.mm.default": import_matmul,
    "aten.bmm.default": import_matmul,
    "aten.addmm.default": import_addmm,
    "aten.t.default": import_t,
    "aten.numpy_T.default": import_t,
    "aten.mT.default": import_m_t,
}
VJP = {"linear": vjp_linear, "matmul": vjp_matmul, "batch_matmul": vjp_batch_matmul}
ONNX = {"linear": emit_linear, "matmul": emit_matmul, "batch_matmul": emit_batch_matmul}
