"""Measure a bundle on few-shot episodes, and what simpler methods reach on the very same ones.

Episode `index` of a seed is the same whoever asks, so two evaluations with equal sizes and seed are paired.
Intervals are 95 %, normal approximation over episodes. Trains nothing and needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from regrow.episodes.draws import Draws
from regrow.episodes.sampler import sample
from regrow.episodes.source import Episode, Source
from regrow.errors import AdaptError, SampleError
from regrow.model import Model
from regrow.progress import Told

# (support samples, samples) -> features of the samples; batch norm may want the support set's statistics.
Features = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[Any]]
Metric = Literal["accuracy", "mse"]


class Sizes(TypedDict):
    """Which episodes: their sizes, how many, from which seed."""

    n_way: int
    k_shot: int
    queries: int
    episodes: int
    seed: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One score per episode: accuracy, or for regression the mean squared error.

    Where adaptation rolled back, the episode is scored as the device would go on: unadapted.
    """

    scores: NDArray[np.float64]
    metric: Metric = "accuracy"
    rolled_back: int = 0

    @property
    def accuracies(self) -> NDArray[np.float64]:
        """The scores of a classification."""
        if self.metric != "accuracy":
            raise SampleError("evaluation: of a regression, which has no accuracies; read scores")
        return self.scores

    @property
    def mean(self) -> float:
        return float(self.scores.mean())

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of the mean; infinite for a single episode."""
        if len(self.scores) < 2:
            return math.inf
        return float(1.96 * self.scores.std(ddof=1) / math.sqrt(len(self.scores)))

    def minus(self, other: Evaluation) -> Evaluation:
        """The paired difference, episode by episode."""
        if len(self.scores) != len(other.scores) or self.metric != other.metric:
            raise SampleError(
                f"evaluation: {len(self.scores)} episodes of {self.metric} against {len(other.scores)} of "
                f"{other.metric}, expected the same; evaluate both with equal sizes and seed"
            )
        return Evaluation(self.scores - other.scores, self.metric)

    def to_json(self) -> dict[str, Any]:
        """Plain data; the interval of a single episode is null."""
        half = self.half_width if math.isfinite(self.half_width) else None
        return {
            "metric": self.metric,
            "mean": self.mean,
            "half_width": half,
            "episodes": len(self.scores),
            "rolled_back": self.rolled_back,
        }


def evaluate(
    model: Model,
    source: Source,
    *,
    steps: int | None = None,
    shuffle_labels: bool = False,
    progress: Told | None = None,
    **sizes: Unpack[Sizes],
) -> Evaluation:
    """Adapt a fresh session per episode and score its queries.

    `steps=0` scores the model before it has adapted. `shuffle_labels` permutes the support labels: a control
    that must score chance. Queries do not see each other unless the bundle's policy is transductive.
    """

    rolled_back = 0

    def score(episode: Episode, index: int) -> float:
        nonlocal rolled_back
        session = model.session()
        y = episode.support_y
        if shuffle_labels:
            y = y[Draws("shuffle", sizes["seed"], index).order(len(y))]
        if steps != 0:
            try:
                session.adapt(episode.support_x, y, steps=steps)
            except AdaptError:
                rolled_back += 1
        logits = session.predict(episode.query_x).logits
        if source.task == "regression":
            return float(np.mean((logits - episode.query_y.reshape(logits.shape)) ** 2))
        return _accuracy(logits[:, : sizes["n_way"]].argmax(1), episode)

    made = _over(source, score, progress, sizes)
    return replace(made, rolled_back=rolled_back)


def nearest_pixel(source: Source, *, progress: Told | None = None, **sizes: Unpack[Sizes]) -> Evaluation:
    """Each query gets the label of the support sample at the smallest Euclidean distance."""

    def score(episode: Episode, _: int) -> float:
        distances = _distances(_flat(episode.query_x), _flat(episode.support_x))
        return _accuracy(episode.support_y[distances.argmin(1)], episode)

    return _over(source, score, progress, sizes)


def nearest_class_mean(
    source: Source, features: Features, *, progress: Told | None = None, **sizes: Unpack[Sizes]
) -> Evaluation:
    """Each query gets the class whose mean support feature is nearest; nothing is adapted."""

    def score(episode: Episode, _: int) -> float:
        support = _flat(features(episode.support_x, episode.support_x))
        means = np.stack([support[episode.support_y == c].mean(0) for c in range(sizes["n_way"])])
        query = _flat(features(episode.support_x, episode.query_x))
        return _accuracy(_distances(query, means).argmin(1), episode)

    return _over(source, score, progress, sizes)


def _over(
    source: Source, score: Callable[[Episode, int], float], progress: Told | None, sizes: Sizes
) -> Evaluation:
    count = sizes["episodes"]
    if count < 1 or sizes["queries"] < 1:
        raise SampleError(
            f"evaluation: {count} episodes of {sizes['queries']} queries, expected one or more of each; "
            "raise it"
        )
    scores = np.empty(count)
    metric: Metric = "mse" if source.task == "regression" else "accuracy"
    for i in range(count):
        episode = sample(source, sizes["n_way"], sizes["k_shot"], sizes["queries"], sizes["seed"], i)
        scores[i] = score(episode, i)
        if progress is not None:
            progress.update(i + 1, **{metric: float(scores[: i + 1].mean())})
    return Evaluation(scores, metric)


def _accuracy(predicted: NDArray[Any], episode: Episode) -> float:
    return float(np.mean(predicted == episode.query_y))


def _flat(x: NDArray[Any]) -> NDArray[np.float64]:
    return x.reshape(len(x), -1).astype(np.float64)


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances of rows, (n, d) and (m, d) -> (n, m)."""
    squares: NDArray[np.float64] = (a * a).sum(1)[:, None] - 2 * a @ b.T + (b * b).sum(1)
    return squares
