"""How good a router is: scores of the learner it picks, episode by episode. Needs no torch.

`given` is told the distribution, as the papers' rows are; `support loss` is told nothing and takes the
learner that fits the support set best once it has adapted; `only d` is learner d for everything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.episodes import Source, sample
from regrow.errors import AdaptError
from regrow.evaluate import Evaluation, Metric
from regrow.evaluate import Sizes as EpisodeSizes
from regrow.model import Model

Array = NDArray[np.float64]
GIVEN, SUPPORT_LOSS, SINGLE = "given", "support loss", "one for all"


@dataclass(frozen=True, eq=False)
class Routed:
    """Scores by router over the episodes of all sources, and how often the support loss chose as given."""

    by_router: dict[str, Evaluation]
    agreement: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "routers": {name: e.to_json() for name, e in self.by_router.items()},
            "agreement": self.agreement,
        }


def routed(scores: Sequence[Array], fits: Sequence[Array], metric: Metric) -> Routed:
    """Both: for every source (episodes, learners); learner `d` was made for source `d`."""
    truth = np.repeat(np.arange(len(scores)), [len(table) for table in scores])
    all_scores, chosen = np.concatenate(scores), np.concatenate(fits).argmin(1)
    rows = np.arange(len(truth))
    picked = {GIVEN: all_scores[rows, truth], SUPPORT_LOSS: all_scores[rows, chosen]}
    picked |= {f"only {d}": column for d, column in enumerate(all_scores.T)}
    return Routed({n: Evaluation(s, metric) for n, s in picked.items()}, float((chosen == truth).mean()))


def bundle_column(model: Model, source: Source, sizes: EpisodeSizes) -> tuple[Array, Array]:
    """Query scores and support losses of one bundle; where it rolls back it scores as it was."""
    found = []
    for index in range(sizes["episodes"]):
        episode = sample(source, sizes["n_way"], sizes["k_shot"], sizes["queries"], sizes["seed"], index)
        session, fit = model.session(), float("inf")
        with contextlib.suppress(AdaptError):
            fit = session.adapt(episode.support_x, episode.support_y).loss
        logits = session.predict(episode.query_x).logits
        if source.task == "regression":
            score = float(np.mean((logits - episode.query_y.reshape(logits.shape)) ** 2))
        else:
            score = float((logits[:, : sizes["n_way"]].argmax(1) == episode.query_y).mean())
        found.append((score, fit))
    scores, fits = np.array(found).T
    return scores, fits
