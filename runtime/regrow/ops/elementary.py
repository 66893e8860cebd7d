"""Elementary functions of one number: exp, log, sqrt, abs, sign, clip. Only clip has a gradient op."""

from collections.abc import Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, number, same


def _bounds(attrs: Attrs) -> tuple[float, float]:
    """A side without a bound has no attribute."""
    low = number(attrs, "low") if "low" in attrs else -np.inf
    return low, number(attrs, "high") if "high" in attrs else np.inf


def clip(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [np.clip(inputs[0], *_bounds(attrs))]


def clip_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, x -> dx; `closed`: on a bound the gradient passes, as it does in clamp but not in hardtanh."""
    dy, x = inputs
    low, high = _bounds(attrs)
    inside = (x >= low) & (x <= high) if attrs["closed"] else (x > low) & (x < high)
    return [np.where(inside, dy, 0)]


def side(inputs: Sequence[Array], outputs: Sequence[Array], attrs: Attrs) -> Array:
    """Below, between or above the bounds."""
    low, high = _bounds(attrs)
    return np.asarray(inputs[0] > low).astype(np.int8) + (inputs[0] > high)


def positive(inputs: Sequence[Array], outputs: Sequence[Array], attrs: Attrs) -> Array:
    return np.asarray(inputs[0] > 0)


OPS = {
    "exp": OpSchema(same, lambda inputs, _: [np.exp(inputs[0])]),
    "log": OpSchema(same, lambda inputs, _: [np.log(inputs[0])]),
    "sqrt": OpSchema(same, lambda inputs, _: [np.sqrt(inputs[0])]),
    "abs": OpSchema(same, lambda inputs, _: [np.abs(inputs[0])], positive),
    "sign": OpSchema(same, lambda inputs, _: [np.sign(inputs[0])], positive),
    "clip": OpSchema(same, clip, side),
    "clip_back": OpSchema(same, clip_back),
}
