"""Batch normalisation: on the batch's own statistics, and on given ones; with their gradients.

x, y:(n,c,...)  gamma, beta, mean, var:(c,).  Variances are biased, as torch normalises with.
"""

from collections.abc import Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, not_channel, number, per_channel
from regrow.program import Value


def _vectors(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    x = values[0]
    return [Value(x.shape), Value((x.shape[1],)), Value((x.shape[1],))]


def _rstd(var: Array, attrs: Attrs) -> Array:
    return np.asarray(1.0 / np.sqrt(var + number(attrs, "eps")))


def batch_norm(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """x, gamma, beta -> y, mean, var."""
    x, gamma, beta = inputs
    axes = not_channel(x.ndim)
    mean, var = x.mean(axes), x.var(axes)
    return [_affine(x, gamma, beta, mean, var, attrs), mean, var]


def _affine(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, attrs: Attrs) -> Array:
    normal = (x - per_channel(mean, x.ndim)) * per_channel(_rstd(var, attrs), x.ndim)
    return np.asarray(normal * per_channel(gamma, x.ndim) + per_channel(beta, x.ndim))


def batch_norm_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, x, gamma, mean, var -> dx, dgamma, dbeta; mean and var depend on x."""
    dy, x, gamma, mean, var = inputs
    axes, rstd = not_channel(x.ndim), _rstd(var, attrs)
    normal = (x - per_channel(mean, x.ndim)) * per_channel(rstd, x.ndim)
    dgamma, dbeta = (dy * normal).sum(axes), dy.sum(axes)
    count = x.size / x.shape[1]
    centred = dy - per_channel(dbeta / count, x.ndim) - normal * per_channel(dgamma / count, x.ndim)
    return [centred * per_channel(gamma * rstd, x.ndim), dgamma, dbeta]


def batch_norm_frozen(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """x, gamma, beta, mean, var -> y; the statistics are constants."""
    x, gamma, beta, mean, var = inputs
    return [_affine(x, gamma, beta, mean, var, attrs)]


def batch_norm_frozen_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, x, gamma, mean, var -> dx, dgamma, dbeta."""
    dy, x, gamma, mean, var = inputs
    axes, rstd = not_channel(x.ndim), _rstd(var, attrs)
    normal = (x - per_channel(mean, x.ndim)) * per_channel(rstd, x.ndim)
    return [dy * per_channel(gamma * rstd, x.ndim), (dy * normal).sum(axes), dy.sum(axes)]


def _back_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    return _vectors(values[1:], attrs)


OPS = {
    "batch_norm": OpSchema(_vectors, batch_norm),
    "batch_norm_back": OpSchema(_back_shape, batch_norm_back),
    "batch_norm_frozen": OpSchema(lambda values, _: [Value(values[0].shape)], batch_norm_frozen),
    "batch_norm_frozen_back": OpSchema(_back_shape, batch_norm_frozen_back),
}
