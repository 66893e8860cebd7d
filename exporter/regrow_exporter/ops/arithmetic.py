"""Elementwise arithmetic, constants and selection: import, gradients, ONNX."""

from collections.abc import Callable, Mapping, Sequence

from regrow.ops.schema import number
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Importer
from regrow_exporter.onnx_builder import OnnxBuilder, f32

Emitter = Callable[[OnnxBuilder, Sequence[str], Op, Mapping[str, Value]], list[str]]


def _binary(kind: str) -> Importer:
    def run(context: Context, a: Arguments) -> str:
        g = context.graph
        left, right = (v if isinstance(v, str) else g.constant(float(v)) for v in (a["self"], a["other"]))
        if a.get("alpha", 1) != 1:
            right = g.one("mul", right, g.constant(float(a["alpha"])))
        return g.one(kind, left, right)

    return run


def import_neg(context: Context, a: Arguments) -> str:
    return context.graph.one("neg", a["self"])


def import_where(context: Context, a: Arguments) -> str:
    return context.graph.one("select", a["condition"], a["self"], a["other"])


def import_same(context: Context, a: Arguments) -> str:
    """Copies, and dropout, which training a few samples on a device never wants."""
    return str(a["self"] if "self" in a else a["input"])


def narrow(g: Graph, dy: str, like: str) -> str:
    """Sum a gradient over the axes along which `like` was broadcast."""
    wide, shape = g.shape(dy), g.shape(like)
    lead = len(wide) - len(shape)
    axes = (*range(lead), *(i + lead for i, d in enumerate(shape) if d == 1 and wide[i + lead] != 1))
    if axes:
        dy = g.one("reduce_sum", dy, axes=axes, keepdims=True)
    return g.one("reshape", dy, shape=shape) if lead else dy


def vjp_add(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [narrow(g, dys[0], x) if n else "" for x, n in zip(op.inputs, need, strict=True)]


def vjp_sub(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    a, b = op.inputs
    return [
        narrow(g, dys[0], a) if need[0] else "",
        g.one("neg", narrow(g, dys[0], b)) if need[1] else "",
    ]


def vjp_mul(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    a, b = op.inputs
    return [
        narrow(g, g.one("mul", dys[0], b), a) if need[0] else "",
        narrow(g, g.one("mul", dys[0], a), b) if need[1] else "",
    ]


def vjp_div(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    a, b = op.inputs
    share = g.one("div", dys[0], b)
    return [
        narrow(g, share, a) if need[0] else "",
        g.one("neg", narrow(g, g.one("mul", share, op.outputs[0]), b)) if need[1] else "",
    ]


def vjp_neg(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("neg", dys[0])]


def _plain(kind: str) -> Emitter:
    return lambda b, ins, op, values: [b.node(kind, *ins)]


def emit_constant(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.const(f32(number(op.attrs, "value")))]


IMPORT: dict[str, Importer] = {
    "aten.add.Tensor": _binary("add"),
    "aten.add_.Tensor": _binary("add"),
    "aten.sub.Tensor": _binary("sub"),
    "aten.mul.Tensor": _binary("mul"),
    "aten.div.Tensor": _binary("div"),
    "aten.neg.default": import_neg,
    "aten.where.self": import_where,
    "aten.clone.default": import_same,
    "aten.alias.default": import_same,
    "aten.dropout.default": import_same,
}
VJP = {"add": vjp_add, "sub": vjp_sub, "mul": vjp_mul, "div": vjp_div, "neg": vjp_neg}
ONNX: dict[str, Emitter] = {
    "add": _plain("Add"),
    "sub": _plain("Sub"),
    "mul": _plain("Mul"),
    "div": _plain("Div"),
    "neg": _plain("Neg"),
    "identity": _plain("Identity"),
    "select": _plain("Where"),
    "constant": emit_constant,
}
