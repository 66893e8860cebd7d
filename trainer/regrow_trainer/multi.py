"""Multi-MAML: one learner per distribution, and how to choose among them. Trains nothing.

Each learner is an ordinary run on its own source, and an ordinary bundle; here they meet on equal episodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from regrow.checkpoint import Checkpoint
from regrow.episodes import Source, sample
from regrow.evaluate import Evaluation, Metric
from regrow_trainer.batching import Workers
from regrow_trainer.build import rebuild
from regrow_trainer.evaluate import Sizes
from regrow_trainer.feed import to_task
from regrow_trainer.learner import Learner, Task
from regrow_trainer.routing import SINGLE, Array, Routed, routed
from regrow_trainer.tensors import to_tensors


def evaluate_routers(
    checkpoints: Sequence[Checkpoint],
    sources: Sequence[Source],
    sizes: Sizes,
    workers: int | None = None,
    single: Checkpoint | None = None,
) -> Routed:
    """Checkpoint `d` was trained for source `d`, `single` for all; `sizes.episodes` of every source."""
    metric: Metric = "mse" if sources[0].task == "regression" else "accuracy"
    tables = [
        [_column(checkpoint, source, sizes, workers) for checkpoint in checkpoints] for source in sources
    ]
    scores, fits = (
        [np.stack([column[part] for column in columns], 1) for columns in tables] for part in (0, 1)
    )
    made = routed(scores, fits, metric)
    if single is not None:
        own = [_column(single, source, sizes, workers)[0] for source in sources]
        made.by_router[SINGLE] = Evaluation(np.concatenate(own), metric)
    return made


def _column(checkpoint: Checkpoint, source: Source, sizes: Sizes, workers: int | None) -> tuple[Array, Array]:
    built = rebuild(checkpoint, "checkpoint")
    params, meta, masks = (to_tensors(t) for t in (checkpoint.params, checkpoint.meta, checkpoint.masks))
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
