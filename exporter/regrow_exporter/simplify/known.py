"""Channels that carry one constant, whatever the input and however the device adapts.

A filter whose every weight is zero and stays zero gives its bias everywhere; what follows makes another
constant of it. A value is described by the constants along one of its axes, NaN where a channel varies.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from regrow.ops import OPS
from regrow.ops.schema import ints
from regrow.program import Op
from regrow_exporter.simplify.blocks import blocks
from regrow_exporter.simplify.net import Array, Floats, Net
from regrow_exporter.simplify.norms import scale_and_shift

_ACTIVATIONS = (
    "relu",
    "leaky_relu",
    "tanh",
    "sigmoid",
    "silu",
    "hardsigmoid",
    "hardswish",
    "elu",
    "softplus",
)
_ELEMENTARY = ("softplus", "gelu", "identity", "neg", "exp", "log", "sqrt", "abs", "sign", "clip")
UNARY = frozenset((*_ACTIVATIONS, *_ELEMENTARY))
BINARY = frozenset(("add", "sub", "mul", "div"))


@dataclass(frozen=True, eq=False)
class Known:
    """Constants along an axis of a value; NaN: not constant."""

    axis: int
    constants: Floats


@dataclass(frozen=True, eq=False)
class Facts:
    """What the rules below may look at."""

    net: Net
    fixed: Mapping[str, Array]
    known: dict[str, Known]

    def of(self, name: str, axis: int) -> Floats:
        """The constants along this axis, NaN where there is none."""
        found = self.known.get(name)
        if found is not None and found.axis == axis:
            return found.constants
        return np.full(max(self.net.values[name].shape[axis], 1), np.nan)


def constants(net: Net) -> dict[str, Known]:
    """Every value that has a constant channel."""
    facts = Facts(net, net.fixed(), {})
    for op in net.ops:
        rule = RULES.get(op.kind)
        found = rule(facts, op) if rule and op.outputs[0] not in facts.fixed else None
        if found is not None and np.isfinite(found.constants).any():
            facts.known[op.outputs[0]] = found
    return facts.known


def layer_axis(op: Op, rank: int) -> int:
    """The axis of a layer's input and output that holds channels."""
    return 1 if op.kind == "conv2d" else rank - 1


def borders(op: Op) -> bool:
    """Whether a layer also sees zeros around its input, so that a constant gives less there than within."""
    return op.kind == "conv2d" and any(ints(op.attrs, "padding"))


def _layer(facts: Facts, op: Op) -> Known:
    """A weight that stays zero reads nothing, an input of zero gives nothing, a constant gives a constant."""
    x, weight = op.inputs[:2]
    axis = layer_axis(op, len(facts.net.values[x].shape))
    zero = facts.net.zero(weight)
    outputs, inputs = zero.shape[:2]
    groups = int(str(op.attrs.get("groups", 1)))
    taps = tuple(range(2, zero.ndim))
    apart = facts.of(x, axis).reshape(groups, 1, inputs)
    seen = np.broadcast_to(apart, (groups, outputs // groups, inputs)).reshape(outputs, inputs)
    silent = zero.all(taps) | (seen == 0)
    w = facts.fixed[weight].sum(taps) if weight in facts.fixed else np.full(silent.shape, np.nan)
    parts = np.where(silent, 0.0, np.nan if borders(op) else seen * w)
    bias = facts.fixed.get(op.inputs[2], np.full(outputs, np.nan)) if len(op.inputs) > 2 else 0.0
    return Known(axis, parts.sum(1) + bias)


def _norm(facts: Facts, op: Op) -> Known | None:
    """By the batch's own statistics a constant becomes the shift, and so does what is scaled by zero."""
    x, gamma, beta = op.inputs[:3]
    if beta not in facts.fixed:
        return None
    unscaled = facts.fixed[gamma] == 0 if gamma in facts.fixed else False
    found = facts.of(x, 1)
    if op.kind == "batch_norm":
        return Known(1, np.where(np.isfinite(found) | unscaled, facts.fixed[beta], np.nan))
    if not all(name in facts.fixed for name in op.inputs[1:]):
        return None
    scale, shift = scale_and_shift(op, facts.fixed)
    return Known(1, np.where(unscaled, facts.fixed[beta], found * scale + shift))


def _unary(facts: Facts, op: Op) -> Known | None:
    found = facts.known.get(op.inputs[0])
    if found is None:
        return None
    made = np.full(found.constants.shape, np.nan)
    there = np.isfinite(found.constants)
    made[there] = OPS[op.kind].forward([found.constants[there]], op.attrs)[0]
    return Known(found.axis, made)


def _binary(facts: Facts, op: Op) -> Known | None:
    """Both sides known; or one of them a factor of zero."""
    axis = next((facts.known[name].axis for name in op.inputs if name in facts.known), None)
    if axis is None:
        return None
    shape = facts.net.values[op.outputs[0]].shape
    a, b = (_along(facts, name, len(shape), axis, shape[axis]) for name in op.inputs)
    with np.errstate(all="ignore"):
        made = np.asarray(OPS[op.kind].forward([a, b], op.attrs)[0])
    if op.kind == "mul":
        made = np.where((a == 0) | (b == 0), 0.0, made)
    return Known(axis, made)


def _along(facts: Facts, name: str, rank: int, axis: int, size: int) -> Floats:
    """An operand's constants along an axis of the result, to which it is broadcast."""
    shape = facts.net.values[name].shape
    own = axis - (rank - len(shape))
    if name in facts.fixed:
        others = [d for i, d in enumerate(shape) if i != own]
        flat = facts.fixed[name].astype(np.float64).ravel()
        return np.broadcast_to(flat if prod(others) == 1 else np.nan, size)
    return np.broadcast_to(facts.of(name, own) if own >= 0 else np.nan, size)


def _max_pool(facts: Facts, op: Op) -> Known | None:
    found = facts.known.get(op.inputs[0])
    return found if found is not None and found.axis == 1 else None


def _avg_pool(facts: Facts, op: Op) -> Known | None:
    found = _max_pool(facts, op)
    if found is None or not (op.attrs["count_padding"] and any(ints(op.attrs, "padding"))):
        return found
    # Zeros around the input count, and pull every other constant down at the border.
    return Known(1, np.where(found.constants == 0, 0.0, np.nan))


def _reduce(facts: Facts, op: Op) -> Known | None:
    found, axes = facts.known.get(op.inputs[0]), ints(op.attrs, "axes")
    if found is None or found.axis in axes:
        return None
    count = prod(facts.net.values[op.inputs[0]].shape[a] for a in axes) if op.kind == "reduce_sum" else 1
    before = 0 if op.attrs["keepdims"] else sum(a < found.axis for a in axes)
    return Known(found.axis - before, found.constants * count) if count > 0 else None


def _permute(facts: Facts, op: Op) -> Known | None:
    found = facts.known.get(op.inputs[0])
    return found and Known(ints(op.attrs, "order").index(found.axis), found.constants)


def _reshape(facts: Facts, op: Op) -> Known | None:
    """An axis may stay, or be merged with others into one."""
    found = facts.known.get(op.inputs[0])
    if found is None:
        return None
    shape = facts.net.values[op.inputs[0]].shape
    for source, target in blocks(shape, facts.net.values[op.outputs[0]].shape):
        if found.axis in source and len(target) == 1 and all(shape[a] > 0 for a in source):
            column = found.constants.reshape([-1 if a == found.axis else 1 for a in source])
            return Known(target[0], np.broadcast_to(column, [shape[a] for a in source]).ravel())
    return None


def _concat(facts: Facts, op: Op) -> Known | None:
    axis = int(str(op.attrs["axis"]))
    return Known(axis, np.concatenate([facts.of(name, axis) for name in op.inputs]))


RULES: dict[str, Callable[[Facts, Op], Known | None]] = {
    "conv2d": _layer,
    "linear": _layer,
    "batch_norm": _norm,
    "batch_norm_frozen": _norm,
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    "max_pool2d": _max_pool,
    "avg_pool2d": _avg_pool,
    "reduce_mean": _reduce,
    "reduce_sum": _reduce,
    "permute": _permute,
    "reshape": _reshape,
    "concat": _concat,
}
