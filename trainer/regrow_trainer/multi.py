"""Multi-MAML: one learner per distribution, and how to choose among them on a device. Trains nothing.

Each learner is an ordinary run on its own source, and an ordinary bundle. Here they meet on the same
episodes: `given` is told the distribution, as the papers' rows are; `support loss` is told nothing and takes
the learner that fits the support set best once it has adapted; the others are each learner for everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regrow.checkpoint import Checkpoint
from regrow.episodes import Source, sample
from regrow.evaluate import Evaluation, Metric
from regrow_trainer.batching import Workers
from regrow_trainer.build import moves, rebuild
from regrow_trainer.evaluate import Sizes
from regrow_trainer.feed import to_task
from regrow_trainer.learner import Learner, Task
from regrow_trainer.tensors import to_tensors

Array = NDArray[np.float64]
GIVEN, SUPPORT_LOSS = "given", "support loss"


@dataclass(frozen=True, eq=False)
class Routed:
    """Scores by router over the episodes of all sources, and how often the support loss chose as given."""

    by_router: dict[str, Evaluation]
    agreement: float


def evaluate_routers(
    checkpoints: Sequence[Checkpoint], sources: Sequence[Source], sizes: Sizes, workers: int | None = None
) -> Routed:
    """Checkpoint `d` was trained for source `d`; `sizes.episodes` of every source."""
    metric: Metric = "mse" if sources[0].task == "regression" else "accuracy"
    tables = [
        [_column(checkpoint, source, sizes, workers) for checkpoint in checkpoints] for source in sources
    ]
    # (sources x episodes, learners): query scores, and support losses after adapting.
    scores, fits = (
        np.concatenate([np.stack([column[part] for column in columns], 1) for columns in tables])
        for part in (0, 1)
    )
    truth = np.repeat(np.arange(len(sources)), sizes.episodes)
    chosen = fits.argmin(1)
    rows = np.arange(len(truth))
    picked = {GIVEN: scores[rows, truth], SUPPORT_LOSS: scores[rows, chosen]}
    picked |= {f"only {d}": scores[:, d] for d in range(len(checkpoints))}
    return Routed({n: Evaluation(s, metric) for n, s in picked.items()}, float((chosen == truth).mean()))


def _column(checkpoint: Checkpoint, source: Source, sizes: Sizes, workers: int | None) -> tuple[Array, Array]:
    built = rebuild(checkpoint, "checkpoint")
    params, meta, masks = to_tensors(checkpoint.params), to_tensors(checkpoint.meta), moves(checkpoint)
    shape = (sizes.n_way, sizes.k_shot, sizes.queries, sizes.seed)
    tasks = to_task([sample(source, *shape, i) for i in range(sizes.episodes)], built.recipe.input)

    def both(learner: Learner, task: Task) -> tuple[Tensor, Tensor]:
        x, y = task.support_x, task.support_y
        adapted = learner.adapt(params, meta, masks, x, y, learner.steps)
        scores = learner.query_scores(adapted, task)
        score = scores.loss if learner.loss == "mse" else scores.accuracy
        return score, learner.support_loss(adapted, x, y)

    with torch.no_grad(), Workers(built.learner, built.recipe.train.batching, workers) as pool:
        score, fit = pool.each(both, tasks)
    return score.double().numpy(), fit.double().numpy()
