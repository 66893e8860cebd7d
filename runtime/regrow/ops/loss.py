"""Losses, mean over the batch. logits:(n,c)  y:(n,) int64 or (n,d)  active:(c,) bool."""

from collections.abc import Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema
from regrow.program import Value


def cross_entropy_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    return [Value(()), Value(values[0].shape)]


def cross_entropy(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """logits, y, active -> loss, probabilities. Outputs not in use get probability exactly zero."""
    logits, y, active = inputs
    shifted = np.where(active, logits, -np.inf)
    shifted = shifted - shifted.max(1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(1, keepdims=True))
    picked = np.take_along_axis(shifted, y.astype(np.int64)[:, None], 1)
    return [np.asarray((log_sum - picked).mean()), np.exp(shifted - log_sum)]


def cross_entropy_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dloss, probabilities, y -> dlogits."""
    dloss, p, y = inputs
    hot = np.arange(p.shape[1]) == y.astype(np.int64)[:, None]
    return [(p - hot) * (dloss / p.shape[0])]


def mse(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """prediction, y -> loss."""
    return [np.asarray(((inputs[0] - inputs[1]) ** 2).mean())]


def mse_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dloss, prediction, y -> dprediction."""
    dloss, p, y = inputs
    return [(p - y) * (dloss * 2.0 / p.size)]


OPS = {
    "cross_entropy": OpSchema(cross_entropy_shape, cross_entropy),
    "cross_entropy_back": OpSchema(lambda values, _: [Value(values[1].shape)], cross_entropy_back),
    "mse": OpSchema(lambda values, _: [Value(())], mse),
    "mse_back": OpSchema(lambda values, _: [Value(values[1].shape)], mse_back),
}
