"""FOMAML: as MAML with the inner gradients taken as constants."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from regrow_trainer.learner import Learner, Scores, Task
from regrow_trainer.strategies import Outcome, for_many, query_loss
from regrow_trainer.tensors import Tensors


@for_many
def first_order(
    learner: Learner,
    params: Tensors,
    meta: Tensors,
    masks: Tensors,
    task: Task,
    shares: Sequence[float] = (),
) -> Outcome:
    """Walk the inner steps once for their gradients, then differentiate the same updates with those fixed."""
    inner: list[Tensors] = []
    moved, state = params, learner.initial_state(params, meta)
    for step in range(learner.steps):
        inner.append(learner.gradients(moved, task.support_x, task.support_y))
        if step + 1 < learner.steps:
            moved, state = learner.apply(moved, meta, masks, inner[-1], state, step)

    def outer(params: Tensors, meta: Tensors) -> tuple[Tensor, Scores]:
        path, state = [params], learner.initial_state(params, meta)
        for step, grads in enumerate(inner):
            params, state = learner.apply(path[-1], meta, masks, grads, state, step)
            path.append(params)
        return query_loss(learner, path, task, shares)

    made = learner.differentiate(outer, params, meta)
    return Outcome(made.params, made.meta, *made.scores)
