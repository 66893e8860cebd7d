"""Learning to learn along whole trajectories: a rule is trained while a learner that began at random trains.

Every few steps (a window) the rule's meta tensors move by the gradient of the losses in it, taken through the
updates of that window alone (truncated back-propagation), with the learner's own gradients as constants.
Nothing is learned about where a learner begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value

from regrow.episodes.draws import Draws
from regrow.errors import UnsupportedError
from regrow_trainer.learner import Learner, Task
from regrow_trainer.strategies import Outcome
from regrow_trainer.tensors import Tensors


class Walk(NamedTuple):
    """Where a trajectory is: weights and rule state, as the rule sees them, and the scale it sees them at."""

    params: Tensors
    state: Tensors
    scale: Tensors  # the network's weights are scale * params; {} for 1


@dataclass(frozen=True, kw_only=True)
class Unrolled:
    """How a trajectory is cut and fed.

    `batch` samples per step, all of the support set where it is 0; with `scale` S the rule sees every weight
    divided by something between e^-S and e^S (Lv, Jiang, Li 2017), so that it learns for no one scale;
    `masked` keeps the mask of a rule that trains without it.
    """

    window: int = 5
    batch: int = 0
    scale: float = 0.0
    masked: bool = False

    def __post_init__(self) -> None:
        if self.window < 1 or self.batch < 0 or not 0 <= self.scale < 10:
            raise UnsupportedError(
                f"strategy: unrolled: window {self.window}, batch {self.batch}, scale {self.scale}; expected "
                "a window from 1, a batch from 0, a scale from 0 to 10; correct train.strategy_args"
            )

    def __call__(self, *_: Any) -> Outcome:
        """Refused: what asks for the meta-gradient of the weights asks for something else."""
        raise UnsupportedError(
            "strategy: unrolled learns nothing about weights, but their meta-gradient was asked for; use "
            "another pruner, such as magnitude, or another strategy"
        )

    def begin(self, learner: Learner, params: Tensors, meta: Tensors, draws: Draws) -> Walk:
        """A trajectory's start from fresh weights."""
        if not self.scale:
            return Walk(params, learner.initial_state(params, meta), {})
        scale = {
            n: torch.from_numpy(draws.uniform(tuple(p.shape) or (1,), -self.scale, self.scale))
            .to(p.dtype)
            .reshape(p.shape)
            .exp()
            for n, p in params.items()
            if n in learner.adaptable
        }
        params = {n: p / scale[n] if n in scale else p for n, p in params.items()}
        return Walk(params, learner.initial_state(params, meta), scale)

    def advance(
        self, learner: Learner, meta: Tensors, masks: Tensors, task: Task, at: Walk, first: int, length: int
    ) -> tuple[Outcome, Walk]:
        """`length` steps from step `first` on: the gradient of their mean loss, and where they lead."""
        learner = self._training(learner)

        def losses(meta: Tensors) -> tuple[Tensor, Walk]:
            walk, total = at, torch.zeros(())
            for step in range(first, first + length):
                x, y = self._samples(task, step)
                # The published code scores an update on the samples that it was made from.
                walk = _stepped(learner, meta, masks, walk, x, y, step)
                total = total + learner.support_loss(weights(walk), x, y)
            return total / length, walk

        grads, (loss, walk) = grad_and_value(losses, has_aux=True)(meta)
        return Outcome({}, grads, loss, torch.zeros_like(loss)), Walk(*(_fixed(part) for part in walk))

    def _training(self, learner: Learner) -> Learner:
        rule = learner.rule
        if self.masked or rule.training is None:
            return learner
        return replace(learner, rule=rule._replace(update=rule.training))

    def _samples(self, task: Task, step: int) -> tuple[Tensor, Tensor]:
        """Those of one step, in turn. Episodes are drawn at random, so one fixed order serves all."""
        x, y = task.support_x, task.support_y
        if not self.batch or self.batch >= len(x):
            return x, y
        order = torch.from_numpy(Draws("unrolled", len(x)).order(len(x)))
        rows = order[torch.arange(step * self.batch, (step + 1) * self.batch) % len(x)]
        return x[rows], y[rows]


def windows(steps: int, window: int) -> Sequence[tuple[int, int]]:
    """First step and length of every window of a trajectory; the last may be shorter.

    >>> windows(12, 5)
    [(0, 5), (5, 5), (10, 2)]
    """
    return [(first, min(window, steps - first)) for first in range(0, steps, window)]


def weights(walk: Walk) -> Tensors:
    """What the network computes with."""
    return {n: p * walk.scale[n] if n in walk.scale else p for n, p in walk.params.items()}


def _stepped(
    learner: Learner, meta: Tensors, masks: Tensors, walk: Walk, x: Tensor, y: Tensor, step: int
) -> Walk:
    grads = learner.gradients(_fixed(weights(walk)), x, y)
    seen = {n: (g * walk.scale[n] if n in walk.scale else g).detach() for n, g in grads.items()}
    params, state = learner.apply(walk.params, meta, masks, seen, walk.state, step)
    return Walk(params, state, walk.scale)


def _fixed(tensors: Tensors) -> Tensors:
    return {n: t.detach() for n, t in tensors.items()}
