"""MAML: the gradient of the query loss through every inner step."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.func import grad_and_value

from regrow_trainer.learner import Learner, Scores, Task
from regrow_trainer.strategies import Outcome, query_loss
from regrow_trainer.tensors import Tensors


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

    (grads, meta_grads), (_, scores) = grad_and_value(outer, argnums=(0, 1), has_aux=True)(params, meta)
    return Outcome(grads, meta_grads, scores.loss, scores.accuracy)
