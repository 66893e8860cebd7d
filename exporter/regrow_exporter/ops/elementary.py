"""exp, log, sqrt, abs, sign, numeric powers and clipping: import, gradients, ONNX."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from regrow.errors import UnsupportedError
from regrow.ops.schema import number
from regrow.program import Attr, Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Importer
from regrow_exporter.onnx_builder import OnnxBuilder, f32
from regrow_exporter.ops.activation import gated
from regrow_exporter.ops.composite import clamped_count
from regrow_exporter.ops.fill import filled

Emitter = Callable[[OnnxBuilder, Sequence[str], Op, Mapping[str, Value]], list[str]]


def _import(kind: str) -> Importer:
    return lambda context, a: context.graph.one(kind, a["self"])


def import_rsqrt(context: Context, a: Arguments) -> str:
    return _inverse(context.graph, context.graph.one("sqrt", a["self"]))


def import_reciprocal(context: Context, a: Arguments) -> str:
    return _inverse(context.graph, a["self"])


def _inverse(g: Graph, x: str) -> str:
    return g.one("div", g.constant(1.0), x)


def import_square(context: Context, a: Arguments) -> str:
    return context.graph.one("mul", a["self"], a["self"])


def import_pow(context: Context, a: Arguments) -> str:
    """The usual exponents by cheaper and exacter ops."""
    g, x, exponent = context.graph, a["self"], float(a["exponent"])
    if exponent in (2.0, -2.0):
        x = g.one("mul", x, x)
    elif exponent in (0.5, -0.5):
        x = g.one("sqrt", x)
    elif exponent == 0:
        return filled(g, g.shape(x), 1.0)
    elif exponent not in (1.0, -1.0):
        return g.one("pow_tensor", x, g.constant(exponent))
    return _inverse(g, x) if exponent < 0 else x


def import_clamp(context: Context, a: Arguments) -> str:
    return _clip(context, a["self"], a.get("min"), a.get("max"), closed=True)


def import_hardtanh(context: Context, a: Arguments) -> str:
    return _clip(context, a["self"], a["min_val"], a["max_val"], closed=False)


def import_relu6(context: Context, a: Arguments) -> str:
    return _clip(context, a["self"], 0, 6, closed=False)


def _clip(context: Context, x: str, low: Any, high: Any, *, closed: bool) -> str:
    if not isinstance(low, int | float | None) or not isinstance(high, int | float | None):
        raise UnsupportedError("a bound that depends on the batch; give it as a number")
    if context.graph.values[x].dtype == "int64":
        return clamped_count(context.graph, x, low, high)
    if low is None and high is None:
        raise UnsupportedError("no bound; give at least one")
    bounds: dict[str, Attr] = {k: float(v) for k, v in (("low", low), ("high", high)) if v is not None}
    return context.graph.one("clip", x, closed=closed, **bounds)


def vjp_exp(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("mul", dys[0], op.outputs[0])]


def vjp_log(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("div", dys[0], op.inputs[0])]


def vjp_sqrt(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("div", g.one("mul", dys[0], g.constant(0.5)), op.outputs[0])]


def vjp_abs(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("mul", dys[0], g.one("sign", op.inputs[0]))]


def vjp_nothing(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    """The derivative is zero wherever there is one."""
    return [""]


def vjp_clip(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    # Strictly inside the bounds, input and output are the same number, and the output is kept anyway.
    like = op.inputs[0] if op.attrs["closed"] else op.outputs[0]
    return [g.one("clip_back", dys[0], like, **op.attrs)]


def _plain(kind: str) -> Emitter:
    return lambda b, ins, op, values: [b.node(kind, *ins)]


def emit_clip(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    bounds = [f32(number(op.attrs, k)) if k in op.attrs else "" for k in ("low", "high")]
    return [b.node("Clip", ins[0], *bounds)]


def emit_clip_back(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    dy, x = ins
    closed = "OrEqual" if op.attrs["closed"] else ""
    inside = [
        b.node(test, x, f32(number(op.attrs, key)))
        for key, test in (("low", f"Greater{closed}"), ("high", f"Less{closed}"))
        if key in op.attrs
    ]
    if len(inside) == 2:
        inside = [b.node("And", *inside)]
    return [gated(b, dy, inside[0]) if inside else dy]


_IMPORTERS: dict[str, Importer] = {
    **{kind: _import(kind) for kind in ("exp", "log", "sqrt", "abs", "sign")},
    "rsqrt": import_rsqrt,
    "reciprocal": import_reciprocal,
    "square": import_square,
    "clamp": import_clamp,
    "clip": import_clamp,
    "clamp_min": import_clamp,
    "clamp_max": import_clamp,
    "hardtanh": import_hardtanh,
    "relu6": import_relu6,
}
IMPORT: dict[str, Importer] = {
    **{f"aten.{name}.default": importer for name, importer in _IMPORTERS.items()},
    **{f"aten.{name}_.default": importer for name, importer in _IMPORTERS.items()},
    "aten.pow.Tensor_Scalar": import_pow,
    "aten.pow_.Scalar": import_pow,
}
VJP = {
    "exp": vjp_exp,
    "log": vjp_log,
    "sqrt": vjp_sqrt,
    "abs": vjp_abs,
    "sign": vjp_nothing,
    "clip": vjp_clip,
}
ONNX: dict[str, Emitter] = {
    "exp": _plain("Exp"),
    "log": _plain("Log"),
    "sqrt": _plain("Sqrt"),
    "abs": _plain("Abs"),
    "sign": _plain("Sign"),
    "clip": emit_clip,
    "clip_back": emit_clip_back,
}
