"""Pointwise activations and their gradients. Each gradient takes dy and what is cheapest to keep."""

from collections.abc import Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, number, same


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


def positive(inputs: Sequence[Array], outputs: Sequence[Array], attrs: Attrs) -> Array:
    """Which side of the kink each element is on."""
    return np.asarray(inputs[0] > 0)


OPS = {
    "relu": OpSchema(same, relu, positive),
    "relu_back": OpSchema(same, relu_back),
    "leaky_relu": OpSchema(same, leaky_relu, positive),
    "leaky_relu_back": OpSchema(same, leaky_relu_back),
    "tanh": OpSchema(same, tanh),
    "tanh_back": OpSchema(same, tanh_back),
}
