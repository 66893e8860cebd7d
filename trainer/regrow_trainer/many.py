"""A learner for many tasks at once: the same methods, every tensor with one more, leading, dimension.

The network is mapped over tasks with `torch.func.vmap`, and `torch.autograd` differentiates outside of it. A
derivative inside of the map would be mapped too, operation by operation; here it sees whole batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from regrow_trainer.kernels import fast
from regrow_trainer.learner import Differentiated, Learner, Outer, Scores, Task
from regrow_trainer.tensors import Tensors, join, split


@dataclass(frozen=True)
class Many(Learner):
    """For `tasks` of them; what all begin with is spread over them first."""

    tasks: int = 1

    @staticmethod
    def of(one: Learner, tasks: int) -> Many:
        """So many tasks for a learner of one."""
        return Many(**_fields(one), tasks=tasks)

    @property
    def one(self) -> Learner:
        """The learner of one task."""
        return Learner(**_fields(self))

    def spread(self, tensors: Tensors) -> Tensors:
        return {name: _spread(t, self.tasks) for name, t in tensors.items()}

    def map(self, function: Callable[..., Any], *tensors: Any, shared: tuple[Any, ...] = ()) -> Any:
        dims = (*(0 for _ in tensors), *(None for _ in shared))
        with fast():
            return vmap(function, dims)(*tensors, *shared)

    def support_loss(self, params: Tensors, x: Tensor, y: Tensor) -> Tensor:
        made: Tensor = self.map(self.one.support_loss, params, x, y)
        return made

    def query_scores(self, params: Tensors, task: Task) -> Scores:
        made: Scores = self.map(self.one.query_scores, params, task)
        return made

    def gradients(self, params: Tensors, x: Tensor, y: Tensor) -> Tensors:
        # Part of a larger derivative where the parameters are; a constant where they are not.
        tracked = torch.is_grad_enabled() and any(t.requires_grad for t in params.values())
        moving, frozen = split(params, self.adaptable)
        moving = {n: t if tracked and t.requires_grad else _leaf(t) for n, t in moving.items()}
        with torch.enable_grad():
            loss = self.support_loss(join(moving, frozen), x, y).sum()
            made = _derivative(loss, list(moving.values()), tracked)
        return dict(zip(moving, made, strict=True))

    def apply(
        self, params: Tensors, meta: Tensors, masks: Tensors, grads: Tensors, state: Tensors, step: int
    ) -> tuple[Tensors, Tensors]:
        def update(*own: Tensors) -> tuple[Tensors, Tensors]:
            params, meta, grads, state = own
            return self.one.apply(params, meta, masks, grads, state, step)

        made: tuple[Tensors, Tensors] = self.map(update, params, meta, grads, state)
        return made

    def initial_state(self, params: Tensors, meta: Tensors) -> Tensors:
        made: Tensors = self.map(self.one.initial_state, params, meta)
        return made

    def differentiate(self, outer: Outer, params: Tensors, meta: Tensors) -> Differentiated:
        with torch.enable_grad():
            own = {n: _leaf(t) for n, t in params.items()}
            rates = {n: _leaf(t) for n, t in meta.items()} if self.rule_learns else {}
            loss, scores = outer(own, {**meta, **rates})
            # Tasks have nothing in common, so the derivative of the sum is every task's own.
            made = _derivative(loss.sum(), [*own.values(), *rates.values()], False)
        still = {name: torch.zeros_like(t) for name, t in meta.items()}
        return Differentiated(
            dict(zip(own, made, strict=False)),
            {**still, **dict(zip(rates, made[len(own) :], strict=True))},
            Scores(*(t.detach() for t in scores)),
        )


def _fields(one: Learner) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in fields(Learner)}


def _derivative(loss: Tensor, wanted: list[Tensor], create_graph: bool) -> list[Tensor]:
    """Zero where the loss does not depend on it."""
    return list(
        torch.autograd.grad(
            loss, wanted, create_graph=create_graph, allow_unused=True, materialize_grads=True
        )
    )


def _leaf(t: Tensor) -> Tensor:
    return t.detach().requires_grad_()


def _spread(t: Tensor, tasks: int) -> Tensor:
    """A copy for every task; kernels of convolutions as the convolutions read them, channels last."""
    many = t.detach().expand(tasks, *t.shape)
    if t.dim() != 4:
        return many.clone()
    return many.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
