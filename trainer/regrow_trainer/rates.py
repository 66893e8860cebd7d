"""The rates that a rule settles at: those it last used, or what it was trained to where they stay."""

from __future__ import annotations

from regrow_trainer.learner import Learner, Task
from regrow_trainer.tensors import Tensors


def last_rates(learner: Learner, params: Tensors, meta: Tensors, masks: Tensors, task: Task) -> Tensors:
    """Rates by parameter at the last step of adapting to a task; {} of a rule that has none per weight."""
    rule = learner.rule
    if rule.freeze is None:
        return {n: meta[f"rate.{n}"] for n in learner.adaptable if f"rate.{n}" in meta}
    state = learner.initial_state(params, meta)
    for step in range(learner.steps):
        grads = learner.gradients(params, task.support_x, task.support_y)
        params, state = learner.apply(params, meta, masks, grads, state, step)
    return rule.freeze(state)[0]
