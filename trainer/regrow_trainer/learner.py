"""A learner: backbone, rule and which parameters are adaptable. Pure functions of explicit parameters.

The module is only structure: its own weights are the initial ones and are never written.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value
from torch.nn import functional as F

from regrow.select import select
from regrow_trainer.norm import support_rows
from regrow_trainer.rules import Rule
from regrow_trainer.tensors import Tensors, join, keep, split

Loss = Literal["cross_entropy", "mse"]
Policy = Literal["none", "support", "transductive"]
LOSSES: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": F.cross_entropy, "mse": F.mse_loss}


class Task(NamedTuple):
    """One episode as tensors; a meta-batch of them has one more, leading, dimension."""

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor


class Scores(NamedTuple):
    """Query loss and share of correct answers (0 for a regression)."""

    loss: Tensor
    accuracy: Tensor


class Differentiated(NamedTuple):
    """The derivatives of an outer loss by parameters and by meta tensors, and the scores beside it."""

    params: Tensors
    meta: Tensors
    scores: Scores


Outer = Callable[[Tensors, Tensors], tuple[Tensor, Scores]]


@dataclass(frozen=True)
class Learner:
    """`adaptable` are names, already selected; `masks` elsewhere hold True where a position may move."""

    module: nn.Module
    rule: Rule
    adaptable: tuple[str, ...]
    steps: int
    loss: Loss = "cross_entropy"
    batch_norm: Policy = "support"
    compute: torch.dtype | None = None  # of the network's operations while training; weights stay as they are
    rule_learns: bool = True  # whether training asks for derivatives of the rule's meta tensors

    def spread(self, tensors: Tensors) -> Tensors:
        """What every task of this learner begins with; there is one here."""
        return tensors

    def map(self, function: Callable[..., Any], *tensors: Any, shared: tuple[Any, ...] = ()) -> Any:
        """`function` of every task's tensors, and of what tasks share."""
        return function(*tensors, *shared)

    def differentiate(self, outer: Outer, params: Tensors, meta: Tensors) -> Differentiated:
        """The derivative of an outer loss; a strategy takes it here, so that it works for many tasks too."""
        (grads, meta_grads), (_, scores) = grad_and_value(outer, argnums=(0, 1), has_aux=True)(params, meta)
        if not self.rule_learns:
            meta_grads = {name: torch.zeros_like(t) for name, t in meta.items()}
        return Differentiated(grads, meta_grads, scores)

    def outputs(self, params: Tensors, x: Tensor, rows: int | None = None) -> Tensor:
        """What the network answers; `rows` support rows lend their batch statistics where given."""
        if self.compute is not None:
            params, x = {n: t.to(self.compute) for n, t in params.items()}, x.to(self.compute)
        with support_rows(rows):
            answer: Tensor = functional_call(self.module, params, (x,))
        return answer if self.compute is None else answer.float()

    def support_loss(self, params: Tensors, x: Tensor, y: Tensor) -> Tensor:
        """The inner loss, a mean over the support set."""
        return LOSSES[self.loss](self.outputs(params, x, len(x)), y)

    def query_outputs(self, params: Tensors, support_x: Tensor, query_x: Tensor) -> Tensor:
        """Answers for the query set. Under `support` no query row influences another."""
        if self.batch_norm != "support":
            return self.outputs(params, query_x)
        rows = len(support_x)
        return self.outputs(params, torch.cat([support_x, query_x]), rows)[rows:]

    def features(self, params: Tensors, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
        """What enters the head, (items, d), for support and query; normalised as `query_outputs` does."""
        seen: list[Tensor] = []
        head = self.module.get_submodule(head_of(list(params)))
        hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self.outputs(params, support_x, len(support_x))
            self.query_outputs(params, support_x, query_x)
        finally:
            hook.remove()
        return seen[0].flatten(1), seen[1][-len(query_x) :].flatten(1)

    def query_scores(self, params: Tensors, task: Task) -> Scores:
        """The outer loss, and the accuracy beside it."""
        answer = self.query_outputs(params, task.support_x, task.query_x)
        loss = LOSSES[self.loss](answer, task.query_y)
        if self.loss == "mse":
            return Scores(loss, torch.zeros_like(loss))
        return Scores(loss, (answer.argmax(-1) == task.query_y).to(loss.dtype).mean())

    def gradients(self, params: Tensors, x: Tensor, y: Tensor) -> Tensors:
        """Gradient of the support loss, for the adaptable parameters only."""
        adaptable, frozen = split(params, self.adaptable)
        made: Tensors = grad(lambda moving: self.support_loss(join(moving, frozen), x, y))(adaptable)
        return made

    def apply(
        self, params: Tensors, meta: Tensors, masks: Tensors, grads: Tensors, state: Tensors, step: int
    ) -> tuple[Tensors, Tensors]:
        """One update by the rule: all parameters, and the rule's state."""
        adaptable, frozen = split(params, self.adaptable)
        where = next(iter(params.values())).device
        new, state = self.rule.update(meta, adaptable, grads, state, torch.tensor(step, device=where))
        return join(keep(masks, new, adaptable), frozen), state

    def initial_state(self, params: Tensors, meta: Tensors) -> Tensors:
        """The rule's state before the first step."""
        return self.rule.init(meta, split(params, self.adaptable)[0])

    def adapt(
        self, params: Tensors, meta: Tensors, masks: Tensors, x: Tensor, y: Tensor, steps: int
    ) -> Tensors:
        """`steps` updates on a support set, differentiable throughout."""
        return self.path(params, meta, masks, x, y, steps)[-1]

    def path(
        self, params: Tensors, meta: Tensors, masks: Tensors, x: Tensor, y: Tensor, steps: int
    ) -> list[Tensors]:
        """The parameters before the first update and after each."""
        made, state = [params], self.initial_state(params, meta)
        for step in range(steps):
            grads = self.gradients(made[-1], x, y)
            params, state = self.apply(made[-1], meta, masks, grads, state, step)
            made.append(params)
        return made

    def replica(self, device: torch.device) -> Learner:
        """A learner for another thread: `functional_call` swaps weights inside the module while it runs."""
        return replace(self, module=copy.deepcopy(self.module).to(device))


def make_learner(
    module: nn.Module, rule: Rule, patterns: tuple[str, ...], steps: int, loss: Loss, batch_norm: Policy
) -> Learner:
    """Select the adaptable parameters and put the parts together."""
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    return Learner(module, rule, select(shapes, patterns), steps, loss, batch_norm)


def head_of(names: Sequence[str]) -> str:
    """The classifier's module, as `@head` finds it."""
    return select({name: () for name in names}, ["@head"])[0].rpartition(".")[0]


def initial_params(module: nn.Module) -> Tensors:
    """Copies of a module's weights."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}
