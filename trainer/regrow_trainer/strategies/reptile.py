"""Reptile (Nichol et al. 2018): step from the initial weights towards the adapted ones."""

from __future__ import annotations

import torch
from torch import Tensor

from regrow.episodes.draws import Draws
from regrow_trainer.learner import Learner, Task
from regrow_trainer.strategies import Outcome, for_many
from regrow_trainer.tensors import Tensors


@for_many
def reptile(
    learner: Learner, params: Tensors, meta: Tensors, masks: Tensors, task: Task, *, batch: int = 0
) -> Outcome:
    """Initial minus adapted weights, to be used as a gradient; support and query are both learned from.

    `batch` samples per step, all of them where it is 0. Nothing is learned about the rule's meta tensors.
    """
    moved, state = params, learner.initial_state(params, meta)
    for step in range(learner.steps):
        x, y = learner.map(_samples, task, shared=(step, batch))
        grads = learner.gradients(moved, x, y)
        moved, state = learner.apply(moved, meta, masks, grads, state, step)
    with torch.no_grad():
        scores = learner.query_scores(moved, task)
    gaps = {name: param - moved[name] for name, param in params.items()}
    still = {name: torch.zeros_like(tensor) for name, tensor in meta.items()}
    return Outcome(gaps, still, scores.loss, scores.accuracy)


def _samples(task: Task, step: int, batch: int) -> tuple[Tensor, Tensor]:
    """Those of a step: all in one order, from the front again when they are used up."""
    x = torch.cat([task.support_x, task.query_x])
    y = torch.cat([task.support_y, task.query_y])
    # Episodes are drawn at random, so one fixed order of their samples is as random as any.
    order = torch.from_numpy(Draws("reptile", len(x)).order(len(x))).to(x.device)
    size = min(batch or len(x), len(x))
    rows = order[torch.arange(step * size, (step + 1) * size, device=x.device) % len(x)]
    return x[rows], y[rows]
