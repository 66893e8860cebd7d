"""Losses, mean over the batch. logits:(n,c)  y:(n,) int64 or (n,d)  active:(c,) bool."""

from collections.abc import Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, number
from regrow.program import Value


def cross_entropy_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    return [Value(()), Value(values[0].shape)]


def _log_softmax(logits: Array, active: Array) -> Array:
    """Over the outputs in use; the others get -inf, and so probability exactly zero."""
    shifted = np.where(active, logits, -np.inf)
    shifted = shifted - shifted.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def cross_entropy(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """logits, y, active -> loss, probabilities."""
    logits, y, active = inputs
    log_p = _log_softmax(logits, active)
    picked = np.take_along_axis(log_p, y.astype(np.int64)[:, None], 1)
    return [np.asarray(-picked.mean()), np.exp(log_p)]


def cross_entropy_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dloss, probabilities, y -> dlogits."""
    dloss, p, y = inputs
    hot = np.arange(p.shape[1]) == y.astype(np.int64)[:, None]
    return [(p - hot) * (dloss / p.shape[0])]


def cross_entropy_soft(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """logits, y, active, weight:(c,) -> loss, probabilities; targets smoothed over the outputs in use."""
    logits, y, active, weight = inputs
    log_p = _log_softmax(logits, active)
    share, total = _soft_targets(y, active, weight, attrs)
    return [np.asarray(-(share * np.where(active, log_p, 0)).sum() / total), np.exp(log_p)]


def _soft_targets(y: Array, active: Array, weight: Array, attrs: Attrs) -> tuple[Array, Array]:
    """What each output weighs in the loss of each sample, and what the sum is divided by."""
    hot = np.arange(len(weight)) == y.astype(np.int64)[:, None]
    smoothing = number(attrs, "smoothing")
    share = ((1 - smoothing) * hot + smoothing / active.sum() * active) * weight
    return share, (hot * weight).sum()


def cross_entropy_soft_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dloss, probabilities, y, active, weight -> dlogits."""
    dloss, p, y, active, weight = inputs
    share, total = _soft_targets(y, active, weight, attrs)
    return [(p * share.sum(1, keepdims=True) - share) * (dloss / total)]


def bce(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """logits, y -> loss: each output is a yes-or-no question of its own."""
    x, y = inputs
    return [np.asarray((np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))).mean())]


def bce_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dloss, logits, y -> dlogits."""
    dloss, x, y = inputs
    raised = np.exp(-np.abs(x))
    return [(np.where(x > 0, 1, raised) / (1 + raised) - y) * (dloss / x.size)]


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
    "cross_entropy_soft": OpSchema(cross_entropy_shape, cross_entropy_soft),
    "cross_entropy_soft_back": OpSchema(lambda values, _: [Value(values[1].shape)], cross_entropy_soft_back),
    "bce": OpSchema(lambda values, _: [Value(())], bce),
    "bce_back": OpSchema(lambda values, _: [Value(values[1].shape)], bce_back),
    "mse": OpSchema(lambda values, _: [Value(())], mse),
    "mse_back": OpSchema(lambda values, _: [Value(values[1].shape)], mse_back),
}
