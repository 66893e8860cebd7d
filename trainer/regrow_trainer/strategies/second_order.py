"""MAML: the gradient of the query loss through every inner step."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from regrow_trainer.learner import Learner, Scores, Task
from regrow_trainer.strategies import Outcome, for_many, query_loss
from regrow_trainer.tensors import Tensors


@for_many
def second_order(
    learner: Learner,
    params: Tensors,
    meta: Tensors,
    masks: Tensors,
    task: Task,
    shares: Sequence[float] = (),
) -> Outcome:
    """Differentiate the adapted learner's query loss with respect to where adaptation began."""

    def outer(params: Tensors, meta: Tensors) -> tuple[Tensor, Scores]:
        x, y = task.support_x, task.support_y
        path = learner.path(params, meta, masks, x, y, learner.steps)
        return query_loss(learner, path, task, shares)

    made = learner.differentiate(outer, params, meta)
    return Outcome(made.params, made.meta, *made.scores)
