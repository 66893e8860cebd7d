"""Predictions: what a session makes of queries now, or would have made of them before it learned."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from regrow.serve import learning
from regrow.serve.core import Core
from regrow.serve.live import untaught
from regrow.session import Session

Array = NDArray[Any]


def predict(core: Core, owner: str, id: str, x: Array, *, before: bool) -> dict[str, Any]:
    """What a session makes of queries, or would have made of them before it learned."""
    session = _asked(core, owner, id, before)
    core.metrics.count("regrow_predictions_total", len(x))
    return learning.predict(session, x)


def probabilities(core: Core, owner: str, id: str, x: Array, *, before: bool) -> Array:
    """The same as one array (n, outputs): probabilities, or the values of a regression."""
    made = _asked(core, owner, id, before).predict(x)
    core.metrics.count("regrow_predictions_total", len(x))
    return made.logits if made.probabilities is None else made.probabilities


def _asked(core: Core, owner: str, id: str, before: bool) -> Session:
    session = core.live.get(owner, id).session
    return untaught(session) if before else session
