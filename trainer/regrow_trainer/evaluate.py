"""Measure a checkpoint on few-shot episodes, with the controls that give the figure its meaning.

On the very same episodes: accuracy after 0, 1, ... steps; the same with shuffled support labels, which must
be chance; nearest pixel; and nearest class mean on the features before anything is adapted. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regrow.checkpoint import Checkpoint
from regrow.episodes import Source, sample
from regrow.episodes.draws import Draws
from regrow.evaluate import Evaluation, Metric
from regrow.progress import Progress
from regrow_trainer.batching import Workers
from regrow_trainer.build import Built, moves, rebuild
from regrow_trainer.feed import to_task
from regrow_trainer.learner import Learner, Task
from regrow_trainer.tensors import Tensors, to_tensors

_SLAB = 48  # episodes in memory at a time


@dataclass(frozen=True)
class Sizes:
    """Which episodes: their sizes, how many, from which sampler seed."""

    n_way: int
    k_shot: int
    queries: int
    episodes: int
    seed: int


@dataclass(frozen=True, eq=False)
class Report:
    """`curve[j]` after j steps; `controls` by name, empty for a regression."""

    curve: tuple[Evaluation, ...]
    controls: Mapping[str, Evaluation]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "curve": [e.to_json() for e in self.curve],
            "controls": {name: e.to_json() for name, e in self.controls.items()},
        }


def evaluate(
    checkpoint: Checkpoint,
    source: Source,
    sizes: Sizes,
    *,
    place: str = "checkpoint",
    steps: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Adapt a fresh copy per episode under the checkpoint's own policy and score its queries."""
    built = rebuild(checkpoint, place)
    score = _Score(
        built, to_tensors(checkpoint.params), to_tensors(checkpoint.meta), moves(checkpoint),
        checkpoint.steps if steps is None else steps, sizes.n_way,
    )  # fmt: skip
    slabs = []
    with torch.no_grad(), Workers(built.learner, built.recipe.train.batching, workers) as pool:
        for first in range(0, sizes.episodes, _SLAB):
            count = min(_SLAB, sizes.episodes - first)
            slabs.append(pool.each(score, *_slab(built, source, sizes, first, count)))
            if progress is not None:
                progress.update(first + count)
    scores = {name: np.concatenate([s[name].double().numpy() for s in slabs]) for name in slabs[0]}
    metric: Metric = "mse" if source.task == "regression" else "accuracy"
    curve = tuple(Evaluation(column, metric) for column in scores.pop("curve").T)
    return Report(curve, {name: Evaluation(values, metric) for name, values in scores.items()})


def _slab(built: Built, source: Source, sizes: Sizes, first: int, count: int) -> tuple[Task, Tensor]:
    """Episodes, and their support labels in another order."""
    shape = (sizes.n_way, sizes.k_shot, sizes.queries, sizes.seed)
    episodes = [sample(source, *shape, index) for index in range(first, first + count)]
    shuffled = [
        e.support_y[Draws("shuffle", sizes.seed, first + i).order(len(e.support_y))]
        for i, e in enumerate(episodes)
    ]
    return to_task(episodes, built.recipe.input), torch.from_numpy(np.stack(shuffled))


@dataclass(frozen=True)
class _Score:
    """All figures of one episode; a function of tensors, so that it can be mapped over episodes."""

    built: Built
    params: Tensors
    meta: Tensors
    masks: Tensors
    steps: int
    ways: int

    def __call__(self, learner: Learner, task: Task, shuffled: Tensor) -> dict[str, Tensor]:
        curve = torch.stack([self._scored(learner, params, task) for params in self._path(learner, task)])
        if learner.loss == "mse":
            return {"curve": curve}
        misled = self._path(learner, task._replace(support_y=shuffled))[-1]
        support, query = learner.features(self.params, task.support_x, task.query_x)
        return {
            "curve": curve,
            "shuffled labels": self._scored(learner, misled, task),
            "nearest pixel": self._nearest(task.support_x.flatten(1), task.query_x.flatten(1), task),
            "nearest class mean": self._nearest(support, query, task),
        }

    def _path(self, learner: Learner, task: Task) -> list[Tensors]:
        x, y = task.support_x, task.support_y
        return learner.path(self.params, self.meta, self.masks, x, y, self.steps)

    def _scored(self, learner: Learner, params: Tensors, task: Task) -> Tensor:
        scores = learner.query_scores(params, task)
        return scores.loss if learner.loss == "mse" else scores.accuracy

    def _nearest(self, support: Tensor, query: Tensor, task: Task) -> Tensor:
        """Accuracy of the nearest class mean; with one shot that is the nearest sample."""
        members = torch.nn.functional.one_hot(task.support_y, self.ways).to(support.dtype)  # (items, ways)
        means = (members.T @ support) / members.sum(0)[:, None]
        # |q|^2 is the same for every class.
        distances = (means * means).sum(1) - 2 * query @ means.T
        return (distances.argmin(1) == task.query_y).to(query.dtype).mean()
