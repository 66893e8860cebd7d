"""Pointwise activations: import, gradients, ONNX."""

import math
from collections.abc import Callable, Mapping, Sequence

from onnx import TensorProto

from regrow.errors import UnsupportedError
from regrow.ops.schema import number
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Importer
from regrow_exporter.onnx_builder import OnnxBuilder, f32

Emitter = Callable[[OnnxBuilder, Sequence[str], Op, Mapping[str, Value]], list[str]]
# (builder, *inputs, op) -> the value of the only output.
Formula = Callable[..., str]

# Scale and slope of selu, as torch has them.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
# Any normal number times this is beyond one; a power of two, so that nothing is rounded on the way.
_STEEP = 2.0**119
_TANH_SCALE, _TANH_CUBE = math.sqrt(2 / math.pi), 0.044715


def _import(kind: str) -> Importer:
    return lambda context, a: context.graph.one(kind, a["self"])


def import_leaky_relu(context: Context, a: Arguments) -> str:
    return context.graph.one("leaky_relu", a["self"], slope=float(a["negative_slope"]))


def import_elu(context: Context, a: Arguments) -> str:
    if a["alpha"] <= 0 or a["scale"] != 1 or a["input_scale"] != 1:
        raise UnsupportedError("an alpha that is not positive, or scales; use alpha > 0 and scale outside")
    return context.graph.one("elu", a["self"], alpha=float(a["alpha"]))


def import_selu(context: Context, a: Arguments) -> str:
    g = context.graph
    return g.one("mul", g.one("elu", a["self"], alpha=_SELU_ALPHA), g.constant(_SELU_SCALE))


def import_softplus(context: Context, a: Arguments) -> str:
    beta, threshold = float(a["beta"]), float(a["threshold"])
    # From 20 on, softplus and the straight line are the same number in fp32.
    if beta <= 0 or threshold < 20:
        raise UnsupportedError(f"beta={beta}, threshold={threshold}; use beta > 0 and a threshold from 20 on")
    return context.graph.one("softplus", a["self"], beta=beta, threshold=threshold)


def import_log_sigmoid(context: Context, a: Arguments) -> str:
    g = context.graph
    return g.one("neg", _softplus(g, g.one("neg", a["self"])))


def import_mish(context: Context, a: Arguments) -> str:
    g = context.graph
    return g.one("mul", a["self"], g.one("tanh", _softplus(g, a["self"])))


def _softplus(g: Graph, x: str) -> str:
    # Without a threshold: within these two, torch never takes the straight line.
    return g.one("softplus", x, beta=1.0, threshold=1e4)


def import_prelu(context: Context, a: Arguments) -> str:
    g, x, slope = context.graph, a["self"], a["weight"]
    if len(g.shape(x)) > 2:
        slope = g.one("reshape", slope, shape=(*g.shape(slope), *[1] * (len(g.shape(x)) - 2)))
    return g.one("select", g.one("greater", x, g.constant(0.0)), x, g.one("mul", x, slope))


def import_gelu(context: Context, a: Arguments) -> str:
    return context.graph.one("gelu", a["self"], approximate=str(a["approximate"]))


def vjp_from_output(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one(f"{op.kind}_back", dys[0], op.outputs[0], **op.attrs)]


def vjp_from_input(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one(f"{op.kind}_back", dys[0], op.inputs[0], **op.attrs)]


def _emitter(formula: Formula) -> Emitter:
    return lambda b, ins, op, values: [formula(b, *ins, op)]


def gated(b: OnnxBuilder, dy: str, open_at: str) -> str:
    """A gradient where a truth value holds; a product, since onnxruntime's Where takes three passes."""
    return b.node("Mul", dy, b.node("Cast", open_at, to=TensorProto.FLOAT))


def _step(b: OnnxBuilder, x: str) -> str:
    """1 where x is positive, else 0, in one pass."""
    return b.node("HardSigmoid", x, alpha=_STEEP, beta=0.0)


def relu_back(b: OnnxBuilder, dy: str, y: str, op: Op) -> str:
    return b.node("Mul", dy, _step(b, y))


def leaky_relu(b: OnnxBuilder, x: str, op: Op) -> str:
    return b.node("LeakyRelu", x, alpha=number(op.attrs, "slope"))


def leaky_relu_back(b: OnnxBuilder, dy: str, x: str, op: Op) -> str:
    slope = number(op.attrs, "slope")
    if 0 <= slope <= 1:
        return b.node("Mul", dy, b.node("Clip", _step(b, x), f32(slope), f32(1)))
    return b.node("Where", b.node("Greater", x, f32(0)), dy, b.node("Mul", dy, f32(slope)))


def tanh_back(b: OnnxBuilder, dy: str, y: str, op: Op) -> str:
    return b.node("Mul", dy, b.node("Sub", f32(1), b.node("Mul", y, y)))


def sigmoid_back(b: OnnxBuilder, dy: str, y: str, op: Op) -> str:
    return b.node("Mul", dy, b.node("Mul", y, b.node("Sub", f32(1), y)))


def silu(b: OnnxBuilder, x: str, op: Op) -> str:
    return b.node("Mul", x, b.node("Sigmoid", x))


def silu_back(b: OnnxBuilder, dy: str, x: str, op: Op) -> str:
    s = b.node("Sigmoid", x)
    bent = b.node("Add", b.node("Mul", x, b.node("Sub", f32(1), s)), f32(1))
    return b.node("Mul", dy, b.node("Mul", s, bent))


def hardsigmoid(b: OnnxBuilder, x: str, op: Op) -> str:
    return b.node("HardSigmoid", x, alpha=1 / 6, beta=0.5)


def hardsigmoid_back(b: OnnxBuilder, dy: str, x: str, op: Op) -> str:
    inside = b.node("Less", b.node("Abs", x), f32(3))
    return gated(b, b.node("Mul", dy, f32(1 / 6)), inside)


def hardswish_back(b: OnnxBuilder, dy: str, x: str, op: Op) -> str:
    slope = b.node("Add", b.node("Mul", x, f32(1 / 3)), f32(0.5))
    slope = b.node("Where", b.node("Less", x, f32(3)), slope, f32(1))
    return b.node("Mul", dy, gated(b, slope, b.node("Greater", x, f32(-3))))


def elu(b: OnnxBuilder, x: str, op: Op) -> str:
    return b.node("Elu", x, alpha=number(op.attrs, "alpha"))


def elu_back(b: OnnxBuilder, dy: str, y: str, op: Op) -> str:
    alpha = number(op.attrs, "alpha")
    if alpha == 1:
        return b.node("Mul", dy, b.node("Add", b.node("Min", y, f32(0)), f32(1)))
    sloped = b.node("Mul", dy, b.node("Add", y, f32(alpha)))
    return b.node("Where", b.node("Greater", y, f32(0)), dy, sloped)


def softplus(b: OnnxBuilder, x: str, op: Op) -> str:
    beta = number(op.attrs, "beta")
    if beta == 1:
        return b.node("Softplus", x)
    return b.node("Div", b.node("Softplus", b.node("Mul", x, f32(beta))), f32(beta))


def softplus_back(b: OnnxBuilder, dy: str, x: str, op: Op) -> str:
    beta = number(op.attrs, "beta")
    return b.node("Mul", dy, b.node("Sigmoid", x if beta == 1 else b.node("Mul", x, f32(beta))))


def gelu(b: OnnxBuilder, x: str, op: Op) -> str:
    # In this order onnxruntime recognises the exact form and runs it as one node.
    return b.node("Mul", b.node("Mul", x, _twice_the_gate(b, x, op)), f32(0.5))


def _twice_the_gate(b: OnnxBuilder, x: str, op: Op) -> str:
    if op.attrs["approximate"] == "none":
        return b.node("Add", b.node("Erf", b.node("Div", x, f32(math.sqrt(2)))), f32(1))
    return b.node("Add", _gelu_tanh(b, x), f32(1))


def _gelu_tanh(b: OnnxBuilder, x: str) -> str:
    bent = b.node("Mul", b.node("Mul", x, x), f32(_TANH_SCALE * _TANH_CUBE))
    return b.node("Tanh", b.node("Mul", x, b.node("Add", bent, f32(_TANH_SCALE))))


def gelu_back(b: OnnxBuilder, dy: str, x: str, op: Op) -> str:
    square = b.node("Mul", x, x)
    if op.attrs["approximate"] == "none":
        bell = b.node("Exp", b.node("Mul", square, f32(-0.5)))
        twice_bend = b.node("Mul", bell, f32(math.sqrt(2 / math.pi)))
    else:
        t = _gelu_tanh(b, x)
        fall = b.node("Sub", f32(1), b.node("Mul", t, t))
        rise = b.node("Add", b.node("Mul", square, f32(3 * _TANH_SCALE * _TANH_CUBE)), f32(_TANH_SCALE))
        twice_bend = b.node("Mul", fall, rise)
    slope = b.node("Add", _twice_the_gate(b, x, op), b.node("Mul", x, twice_bend))
    return b.node("Mul", b.node("Mul", dy, slope), f32(0.5))


def _plain(kind: str) -> Formula:
    return lambda b, x, op: b.node(kind, x)


_IMPORTERS: dict[str, Importer] = {
    **{kind: _import(kind) for kind in ("relu", "tanh", "sigmoid", "silu", "hardsigmoid", "hardswish")},
    "leaky_relu": import_leaky_relu,
    "elu": import_elu,
    "selu": import_selu,
    "mish": import_mish,
}
# While tracing, what follows an in-place op reads its result, so both forms mean the same.
IMPORT: dict[str, Importer] = {
    **{f"aten.{name}.default": importer for name, importer in _IMPORTERS.items()},
    **{f"aten.{name}_.default": importer for name, importer in _IMPORTERS.items()},
    "aten.softplus.default": import_softplus,
    "aten.gelu.default": import_gelu,
    "aten.log_sigmoid.default": import_log_sigmoid,
    "aten.prelu.default": import_prelu,
}
VJP = {
    **{kind: vjp_from_output for kind in ("relu", "tanh", "sigmoid", "elu")},
    **{kind: vjp_from_input for kind in ("leaky_relu", "silu", "hardsigmoid", "hardswish")},
    **{kind: vjp_from_input for kind in ("softplus", "gelu")},
}
_FORMULAS: dict[str, Formula] = {
    "relu": _plain("Relu"),
    "relu_back": relu_back,
    "leaky_relu": leaky_relu,
    "leaky_relu_back": leaky_relu_back,
    "tanh": _plain("Tanh"),
    "tanh_back": tanh_back,
    "sigmoid": _plain("Sigmoid"),
    "sigmoid_back": sigmoid_back,
    "silu": silu,
    "silu_back": silu_back,
    "hardsigmoid": hardsigmoid,
    "hardsigmoid_back": hardsigmoid_back,
    "hardswish": _plain("HardSwish"),
    "hardswish_back": hardswish_back,
    "elu": elu,
    "elu_back": elu_back,
    "softplus": softplus,
    "softplus_back": softplus_back,
    "gelu": gelu,
    "gelu_back": gelu_back,
}
ONNX = {kind: _emitter(formula) for kind, formula in _FORMULAS.items()}
