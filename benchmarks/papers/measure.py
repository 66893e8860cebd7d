"""Scores of a checkpoint on a recipe's episodes, paired whoever is measured. Trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from benchmarks.papers.table import Measured
from regrow.checkpoint import Checkpoint
from regrow.evaluate import Evaluation
from regrow_trainer.batching import Workers
from regrow_trainer.build import moves, open_data, rebuild
from regrow_trainer.device import pick, put
from regrow_trainer.feed import TEST, VALIDATION, draw, stream_seed
from regrow_trainer.learner import Learner, Task
from regrow_trainer.tensors import to_tensors

QUERIES = 15  # per class, in test episodes of a classification; the recipe says how many else
_SLAB = 50  # episodes in memory at a time
Part = Literal["validation", "test"]
_STREAMS: dict[Part, int] = {"validation": VALIDATION, "test": TEST}


def scored(
    made: Checkpoint,
    episodes: int,
    steps: Sequence[int],
    part: Part = "test",
    workers: int | None = None,
) -> dict[int, Evaluation]:
    """Scores after each of these numbers of steps, as the checkpoint's device policy adapts."""
    built = rebuild(made, "checkpoint")
    recipe = built.recipe
    where = pick()
    params, meta, masks = (
        put(t, where) for t in (to_tensors(made.params), to_tensors(made.meta), moves(made))
    )
    source = open_data(recipe, getattr(recipe.data, part))
    seed = stream_seed(recipe.seed, _STREAMS[part])
    mse = recipe.learner.loss == "mse"
    queries = QUERIES if part == "test" and not mse else recipe.validation.queries

    def score(learner: Learner, task: Task) -> Tensor:
        path = learner.path(params, meta, masks, task.support_x, task.support_y, max(steps))
        found = [learner.query_scores(path[n], task) for n in steps]
        return torch.stack([s.loss if mse else s.accuracy for s in found])

    with torch.no_grad(), Workers(built.learner, recipe.train.batching, workers, device=where) as pool:
        slabs = []
        for first in range(0, episodes, _SLAB):
            count = min(_SLAB, episodes - first)
            slabs.append(
                pool.each(score, draw(source, recipe.data, recipe.input, queries, seed, first, count)).cpu()
            )
    columns = torch.cat(slabs).double().numpy().T
    return {n: Evaluation(c, "mse" if mse else "accuracy") for n, c in zip(steps, columns, strict=True)}


def walked(made: Checkpoint, episodes: int, workers: int | None = None) -> Measured:
    """The score after the last step on the device, the curve up to it, how episodes spread on it."""
    path = scored(made, episodes, range(made.steps + 1), workers=workers)
    spreads = {f"spread after {n}": float(e.scores.std()) for n, e in path.items()}
    return Measured(path[made.steps], spreads, [(float(n), e.mean) for n, e in path.items()])
