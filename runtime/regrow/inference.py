"""Queries in, prediction out: chunked where that cannot change the answer, unused outputs ruled out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from regrow.classes import Classes
from regrow.errors import BudgetError

if TYPE_CHECKING:
    from regrow.model import Model

Array = NDArray[Any]

# Enough to keep a core busy, little enough that a thousand queries cost no more memory than a support set.
CHUNK = 64


@dataclass(frozen=True, eq=False)
class Prediction:
    """One row per query. For regression `logits` are the values; the other two are None.

    Outputs not in use have logit -inf and probability 0.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None
    labels: NDArray[np.int64] | NDArray[np.str_] | None


def run(
    model: Model,
    x: NDArray[np.float32],
    params: Mapping[str, Array],
    statistics: Mapping[str, Array],
    classes: Classes | None,
) -> Prediction:
    """The prediction of a state of a session."""
    transductive = model.policy.batch_norm == "transductive"
    if transductive and len(x) < model.policy.max_ways:
        warnings.warn(
            f"predict: {len(x)} queries make poor batch statistics and this bundle is transductive; "
            f"predict {model.policy.max_ways} or more at once or export with policy support",
            stacklevel=3,
        )
    logits = _outputs(model, x, params, statistics, len(x) if transductive else CHUNK)
    if classes is None:
        return Prediction(logits, None, None)
    logits = np.where(classes.active(), logits, np.float32(-np.inf))
    return Prediction(logits, softmax(logits), classes.name(logits.argmax(1).astype(np.int64)))


def _outputs(
    model: Model, x: Array, params: Mapping[str, Array], statistics: Mapping[str, Array], chunk: int
) -> NDArray[np.float32]:
    made: list[Array] = []
    at = 0
    while at < len(x):
        try:
            made.append(model.engine.predict(x[at : at + chunk], params, statistics))
        except BudgetError:
            # Unless queries see each other, fewer at once give the same answer in less memory.
            if chunk == 1 or model.policy.batch_norm == "transductive":
                raise
            chunk = min(chunk, len(x)) // 2 or 1
            continue
        at += chunk
    return np.concatenate(made) if len(made) > 1 else made[0]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows that sum to one; -inf becomes exactly 0."""
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    rows: NDArray[np.float32] = exponent / exponent.sum(1, keepdims=True)
    return rows
