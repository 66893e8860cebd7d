"""Pointwise activations and their gradients. Each gradient takes dy and what is cheapest to keep.

On a kink every gradient takes the side that torch takes.
"""

import math
from collections.abc import Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, number, same

# numpy has no error function, and the runtime needs numpy only.
_erf = np.vectorize(math.erf, otypes=[float])
# Torch rounds this slope to fp32 in every precision; with a better one the two would not agree to 1e-9.
_SIXTH = float(np.float32(1 / 6))
_TANH_SCALE, _TANH_CUBE = math.sqrt(2 / math.pi), 0.044715  # of the tanh form of gelu


def _logistic(x: Array) -> Array:
    # The tanh form neither overflows nor cancels.
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)


def relu(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [np.maximum(inputs[0], 0)]


def relu_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, y -> dx."""
    return [np.where(inputs[1] > 0, inputs[0], 0)]


def leaky_relu(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    x = inputs[0]
    return [np.where(x > 0, x, x * number(attrs, "slope"))]


def leaky_relu_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, x -> dx."""
    dy, x = inputs
    return [np.where(x > 0, dy, dy * number(attrs, "slope"))]


def tanh(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [np.tanh(inputs[0])]


def tanh_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, y -> dx."""
    dy, y = inputs
    return [dy * (1 - y * y)]


def sigmoid(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [_logistic(inputs[0])]


def sigmoid_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, y -> dx."""
    dy, y = inputs
    return [dy * y * (1 - y)]


def silu(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [inputs[0] * _logistic(inputs[0])]


def silu_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, x -> dx."""
    dy, x = inputs
    s = _logistic(x)
    return [dy * s * (1 + x * (1 - s))]


def hardsigmoid(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [np.clip(inputs[0] / 6 + 0.5, 0, 1)]


def hardsigmoid_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, x -> dx."""
    dy, x = inputs
    return [np.where(np.abs(x) < 3, dy * _SIXTH, 0)]


def hardswish(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [inputs[0] * np.clip(inputs[0] / 6 + 0.5, 0, 1)]


def hardswish_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, x -> dx."""
    dy, x = inputs
    return [np.where(x <= -3, 0, np.where(x < 3, dy * (x / 3 + 0.5), dy))]


def elu(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    x = inputs[0]
    return [np.where(x > 0, x, number(attrs, "alpha") * np.expm1(np.minimum(x, 0)))]


def elu_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, y -> dx; a positive alpha makes y tell the sides apart."""
    dy, y = inputs
    return [np.where(y > 0, dy, dy * (y + number(attrs, "alpha")))]


def softplus(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    x, beta = inputs[0], number(attrs, "beta")
    smooth = np.logaddexp(0, beta * x) / beta
    return [np.where(beta * x > number(attrs, "threshold"), x, smooth)]


def softplus_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, x -> dx."""
    dy, x = inputs
    scaled = number(attrs, "beta") * x
    return [np.where(scaled > number(attrs, "threshold"), dy, dy * _logistic(scaled))]


def gelu(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """Exact with `approximate` "none", by a tanh with "tanh"."""
    x = inputs[0]
    if attrs["approximate"] == "none":
        return [0.5 * x * (1 + _erf(x / math.sqrt(2)))]
    return [0.5 * x * (1 + np.tanh(_TANH_SCALE * (x + _TANH_CUBE * x**3)))]


def gelu_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, x -> dx."""
    dy, x = inputs
    if attrs["approximate"] == "none":
        density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return [dy * (0.5 * (1 + _erf(x / math.sqrt(2))) + x * density)]
    t = np.tanh(_TANH_SCALE * (x + _TANH_CUBE * x**3))
    slope = _TANH_SCALE * (1 + 3 * _TANH_CUBE * x * x)
    return [dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope)]


def positive(inputs: Sequence[Array], outputs: Sequence[Array], attrs: Attrs) -> Array:
    """Which side of the kink each element is on."""
    return np.asarray(inputs[0] > 0)


def third(inputs: Sequence[Array], outputs: Sequence[Array], attrs: Attrs) -> Array:
    """Below, between or above the two kinks of the hard functions."""
    return np.asarray(inputs[0] > -3).astype(np.int8) + (inputs[0] > 3)


OPS = {
    "relu": OpSchema(same, relu, positive),
    "relu_back": OpSchema(same, relu_back),
    "leaky_relu": OpSchema(same, leaky_relu, positive),
    "leaky_relu_back": OpSchema(same, leaky_relu_back),
    "tanh": OpSchema(same, tanh),
    "tanh_back": OpSchema(same, tanh_back),
    "sigmoid": OpSchema(same, sigmoid),
    "sigmoid_back": OpSchema(same, sigmoid_back),
    "silu": OpSchema(same, silu),
    "silu_back": OpSchema(same, silu_back),
    "hardsigmoid": OpSchema(same, hardsigmoid, third),
    "hardsigmoid_back": OpSchema(same, hardsigmoid_back),
    "hardswish": OpSchema(same, hardswish, third),
    "hardswish_back": OpSchema(same, hardswish_back),
    "elu": OpSchema(same, elu, positive),
    "elu_back": OpSchema(same, elu_back),
    "softplus": OpSchema(same, softplus),
    "softplus_back": OpSchema(same, softplus_back),
    "gelu": OpSchema(same, gelu),
    "gelu_back": OpSchema(same, gelu_back),
}
