"""Elementwise arithmetic, constants and selection: import, gradients, ONNX."""

from collections.abc import Callable, Mapping, Sequence

from regrow.ops.schema import number
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Importer
from regrow_exporter.onnx_builder import OnnxBuilder, f32
from regrow_exporter.ops.logic import as_dtype, promoted

Emitter = Callable[[OnnxBuilder, Sequence[str], Op, Mapping[str, Value]], list[str]]


def _binary(kind: str, *, swap: bool = False, at_least: str = "int64") -> Importer:
    def run(context: Context, a: Arguments) -> str:
        g = context.graph
        left, right = (a["other"], a["self"]) if swap else (a["self"], a["other"])
        if a.get("alpha", 1) != 1:
            right = g.one("mul", *promoted(g, [right, a["alpha"]]))
        return g.one(kind, *promoted(g, [left, right], at_least))

    return run


def import_neg(context: Context, a: Arguments) -> str:
    return context.graph.one("neg", a["self"])


def import_where(context: Context, a: Arguments) -> str:
    g = context.graph
    return g.one("select", as_dtype(g, a["condition"], "bool"), *promoted(g, [a["self"], a["other"]], "bool"))


def import_same(context: Context, a: Arguments) -> str:
    """Copies, and dropout, which training a few samples on a device never wants."""
    return str(a["self"] if "self" in a else a["input"])


def import_pow_tensor(context: Context, a: Arguments) -> str:
    """A number or a tensor to the power of a tensor."""
    return context.graph.one("pow_tensor", *promoted(context.graph, [a["self"], a["exponent"]], "float32"))


def import_detach(context: Context, a: Arguments) -> str:
    return context.graph.one("identity", a["self"])


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


def vjp_select(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    mask, a, b = op.inputs
    zero = g.constant(0.0)
    return [
        "",
        narrow(g, g.one("select", mask, dys[0], zero), a) if need[1] else "",
        narrow(g, g.one("select", mask, zero, dys[0]), b) if need[2] else "",
    ]


def vjp_pow_tensor(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    (a, b), y = op.inputs, op.outputs[0]
    lower = g.one("pow_tensor", a, g.one("sub", b, g.constant(1.0))) if need[0] else ""
    return [
        narrow(g, g.one("mul", dys[0], g.one("mul", b, lower)), a) if need[0] else "",
        narrow(g, g.one("mul", dys[0], g.one("mul", y, g.one("log", a))), b) if need[1] else "",
    ]


def vjp_identity(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    """In what is differentiated, an identity is a `detach`."""
    return [""]


def _plain(kind: str) -> Emitter:
    return lambda b, ins, op, values: [b.node(kind, *ins)]


def emit_constant(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.const(f32(number(op.attrs, "value")))]


IMPORT: dict[str, Importer] = {
    "aten.add.Tensor": _binary("add"),
    "aten.add_.Tensor": _binary("add"),
    "aten.sub.Tensor": _binary("sub"),
    "aten.sub_.Tensor": _binary("sub"),
    "aten.mul.Tensor": _binary("mul"),
    "aten.mul_.Tensor": _binary("mul"),
    "aten.div.Tensor": _binary("div", at_least="float32"),
    "aten.div_.Tensor": _binary("div", at_least="float32"),
    "aten.rsub.Scalar": _binary("sub", swap=True),
    "aten.rsub.Tensor": _binary("sub", swap=True),
    "aten.pow.Scalar": import_pow_tensor,
    "aten.pow.Tensor_Tensor": import_pow_tensor,
    "aten.neg.default": import_neg,
    **{f"aten.where.{form}": import_where for form in ("self", "ScalarSelf", "ScalarOther", "Scalar")},
    "aten.detach.default": import_detach,
    "aten.detach_.default": import_detach,
    "aten.lift_fresh_copy.default": import_same,
    "aten.contiguous.default": import_same,
    "aten.clone.default": import_same,
    "aten.alias.default": import_same,
    **{f"aten.{name}.default": import_same for name in ("dropout", "dropout_", "feature_dropout")},
    **{f"aten.{name}.default": import_same for name in ("alpha_dropout", "feature_alpha_dropout")},
}
VJP = {
    "add": vjp_add,
    "sub": vjp_sub,
    "mul": vjp_mul,
    "div": vjp_div,
    "neg": vjp_neg,
    "pow_tensor": vjp_pow_tensor,
    "select": vjp_select,
    "identity": vjp_identity,
}
ONNX: dict[str, Emitter] = {
    "add": _plain("Add"),
    "sub": _plain("Sub"),
    "mul": _plain("Mul"),
    "div": _plain("Div"),
    "neg": _plain("Neg"),
    "pow_tensor": _plain("Pow"),
    "identity": _plain("Identity"),
    "select": _plain("Where"),
    "constant": emit_constant,
}
