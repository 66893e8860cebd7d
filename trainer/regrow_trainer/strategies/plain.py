"""Ordinary training: nothing is adapted. What a meta-trained network is to be compared with."""

from __future__ import annotations

from torch import Tensor

from regrow_trainer.learner import Learner, Scores, Task
from regrow_trainer.strategies import Outcome, for_many
from regrow_trainer.tensors import Tensors


@for_many
def plain(learner: Learner, params: Tensors, meta: Tensors, masks: Tensors, task: Task) -> Outcome:
    """The gradient of the query loss before any step; of the support set only its batch statistics count.

    Classes must be the same in every episode, as those of a group source are.
    """

    def outer(params: Tensors, meta: Tensors) -> tuple[Tensor, Scores]:
        scores = learner.query_scores(params, task)
        return scores.loss, scores

    made = learner.differentiate(outer, params, meta)
    return Outcome(made.params, made.meta, *made.scores)
