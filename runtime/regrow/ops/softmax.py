"""softmax and log_softmax over one axis, and their gradients."""

from collections.abc import Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, same


def _axis(attrs: Attrs) -> int:
    return int(str(attrs["axis"]))


def softmax(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    # Without the largest, exp would overflow.
    raised = np.exp(inputs[0] - inputs[0].max(_axis(attrs), keepdims=True))
    return [raised / raised.sum(_axis(attrs), keepdims=True)]


def softmax_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, y -> dx."""
    dy, y = inputs
    return [y * (dy - (dy * y).sum(_axis(attrs), keepdims=True))]


def log_softmax(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    shifted = inputs[0] - inputs[0].max(_axis(attrs), keepdims=True)
    return [shifted - np.log(np.exp(shifted).sum(_axis(attrs), keepdims=True))]


def log_softmax_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, y -> dx."""
    dy, y = inputs
    return [dy - np.exp(y) * dy.sum(_axis(attrs), keepdims=True)]


OPS = {
    "softmax": OpSchema(same, softmax),
    "softmax_back": OpSchema(same, softmax_back),
    "log_softmax": OpSchema(same, log_softmax),
    "log_softmax_back": OpSchema(same, log_softmax_back),
}
