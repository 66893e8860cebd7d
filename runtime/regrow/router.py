"""Several models, each made for a distribution of its own, and an episode of which nobody says whose it is.

    number, session, _ = regrow.route([pen, touch], x, y)

Every model adapts to the support set; the one that then fits it best is kept. That costs an adaptation and a
bundle for every model; who knows the distribution opens its bundle and needs nothing of this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from numpy.typing import ArrayLike

from regrow.errors import AdaptError, SampleError
from regrow.model import Model
from regrow.session import Session


class Routed(NamedTuple):
    """Which model it was, its adapted session, and the support loss of every model; infinite: rolled back."""

    number: int
    session: Session
    losses: tuple[float, ...]


def route(models: Sequence[Model], x: ArrayLike, y: ArrayLike) -> Routed:
    """Adapt a fresh session of every model and choose by the support loss; of equals the first."""
    if not models:
        raise SampleError("route: no model, expected at least one; give those to choose from")
    sessions = [model.session() for model in models]
    losses = tuple(_fit(session, x, y) for session in sessions)
    best = min(range(len(losses)), key=losses.__getitem__)
    if math.isinf(losses[best]):
        raise AdaptError(
            f"route: none of {len(models)} models could adapt to these samples, expected one; check labels"
        )
    return Routed(best, sessions[best], losses)


def _fit(session: Session, x: ArrayLike, y: ArrayLike) -> float:
    try:
        return float(session.adapt(x, y).loss)
    except AdaptError:
        return math.inf
