"""Ops that only move or sum: reshape, permute, sums and means over axes, and their spreading gradients."""

from collections.abc import Sequence
from math import prod

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, ints
from regrow.program import Value


def reshape_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    source, target = values[0], ints(attrs, "shape")
    # One sample and two samples decide whether a symbolic size is the same linear function of the batch.
    if any(prod(source.at(b)) != prod(Value(target).at(b)) for b in (1, 2)):
        raise ValueError(f"reshape: {source.shape} does not hold as many elements as {target}")
    return [Value(target, source.dtype)]


def reshape(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    # Only one dimension may depend on the batch, so numpy can infer it.
    return [inputs[0].reshape([d if d >= 0 else -1 for d in ints(attrs, "shape")])]


def permute_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    return [Value(tuple(values[0].shape[i] for i in ints(attrs, "order")), values[0].dtype)]


def permute(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [inputs[0].transpose(ints(attrs, "order"))]


def reduce_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    axes, shape = ints(attrs, "axes"), values[0].shape
    if attrs["keepdims"]:
        return [Value(tuple(1 if i in axes else d for i, d in enumerate(shape)))]
    return [Value(tuple(d for i, d in enumerate(shape) if i not in axes))]


def reduce_sum(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [np.asarray(inputs[0].sum(ints(attrs, "axes"), keepdims=bool(attrs["keepdims"])))]


def reduce_mean(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [np.asarray(inputs[0].mean(ints(attrs, "axes"), keepdims=bool(attrs["keepdims"])))]


def spread_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    return [Value(values[1].shape)]


def _spread(dy: Array, like: Array, attrs: Attrs) -> Array:
    if not attrs["keepdims"]:
        dy = np.expand_dims(dy, ints(attrs, "axes"))
    return np.broadcast_to(dy, like.shape)


def reduce_sum_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, x -> dx; x gives only its shape."""
    return [_spread(inputs[0], inputs[1], attrs)]


def reduce_mean_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, x -> dx; x gives only its shape."""
    dy, x = inputs
    return [_spread(dy, x, attrs) * (max(dy.size, 1) / x.size)]


OPS = {
    "reshape": OpSchema(reshape_shape, reshape),
    "permute": OpSchema(permute_shape, permute),
    "reduce_sum": OpSchema(reduce_shape, reduce_sum),
    "reduce_mean": OpSchema(reduce_shape, reduce_mean),
    "reduce_sum_back": OpSchema(spread_shape, reduce_sum_back),
    "reduce_mean_back": OpSchema(spread_shape, reduce_mean_back),
}
