"""Zero mean and unit variance over the trailing dimensions; layer, group and instance norm are made of it.

x, y:(n,...)  rstd: as x, with one in place of every dimension from `axis` on.  Variances are biased.
"""

from collections.abc import Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, number
from regrow.program import Value


def _axes(rank: int, attrs: Attrs) -> tuple[int, ...]:
    return tuple(range(int(str(attrs["axis"])), rank))


def normalize_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    shape = values[0].shape
    axes = _axes(len(shape), attrs)
    return [Value(shape), Value(tuple(1 if i in axes else d for i, d in enumerate(shape)))]


def normalize(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """x -> y, rstd."""
    x = inputs[0]
    axes = _axes(x.ndim, attrs)
    rstd = 1.0 / np.sqrt(x.var(axes, keepdims=True) + number(attrs, "eps"))
    return [(x - x.mean(axes, keepdims=True)) * rstd, rstd]


def normalize_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, y, rstd -> dx."""
    dy, y, rstd = inputs
    axes = _axes(y.ndim, attrs)
    along = (dy * y).mean(axes, keepdims=True)
    return [(dy - dy.mean(axes, keepdims=True) - y * along) * rstd]


OPS = {
    "normalize": OpSchema(normalize_shape, normalize),
    "normalize_back": OpSchema(lambda values, _: [Value(values[0].shape)], normalize_back),
}
