"""How the meta-gradient of one task is estimated. A strategy is one pure function in one file and one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from regrow.errors import UnsupportedError
from regrow_trainer.learner import Learner, Scores, Task
from regrow_trainer.tables import follow, parameters_of, path_of
from regrow_trainer.tensors import Tensors

# name -> "module:function"
STRATEGIES: dict[str, str] = {
    "first_order": "regrow_trainer.strategies.first_order:first_order",
    "plain": "regrow_trainer.strategies.plain:plain",
    "reptile": "regrow_trainer.strategies.reptile:reptile",
    "second_order": "regrow_trainer.strategies.second_order:second_order",
    "unrolled": "regrow_trainer.strategies.unrolled:Unrolled",
}


class Outcome(NamedTuple):
    """Meta-gradients of the weights and of the rule's meta tensors, query loss and accuracy."""

    params: Tensors
    meta: Tensors
    loss: Tensor
    accuracy: Tensor


class Strategy(Protocol):
    """Made of torch operations only, so that it can be mapped over tasks.

    One that takes every derivative from the learner may say so with `for_many`: it is then given a learner of
    many tasks, which is faster, and tensors with one more, leading, dimension.

    One that follows the query loss may list a parameter `shares`, the weight of that loss after each step;
    keyword-only parameters are what a recipe's `train.strategy_args` may set.
    """

    def __call__(
        self, learner: Learner, params: Tensors, meta: Tensors, masks: Tensors, task: Task
    ) -> Outcome: ...


def strategy(
    name: str, args: Mapping[str, Any] | None = None, steps: int = 0, *, shared: bool = False
) -> Strategy:
    """Look a strategy up by name or dotted path; `steps` replaces the learner's while training.

    `shared`: it will be given `shares`.
    """
    path = path_of("strategy", name, STRATEGIES)
    found: Any = follow("strategy", path)
    known = parameters_of("strategy", path)
    options = [n for n, p in known.items() if p.kind is p.KEYWORD_ONLY]
    wrong = sorted(set(args or {}) - set(options))
    if wrong:
        raise UnsupportedError(
            f"strategy: {name}: found {', '.join(wrong)}; expected arguments: {', '.join(options) or 'none'}"
        )
    if shared and "shares" not in known:
        raise UnsupportedError(
            f"strategy: {name} does not look at the query loss, expected one that does for "
            "train.multi_step; use second_order or first_order"
        )
    if isinstance(found, type):  # of trajectories, which know their own steps
        made: Strategy = found(**(args or {}))
        return made
    return Chosen(found, dict(args or {}), steps)


@dataclass(frozen=True)
class Chosen:
    """A strategy with what the recipe sets for it."""

    function: Callable[..., Outcome]
    args: dict[str, Any]
    steps: int = 0  # while training; 0 for the learner's own

    @property
    def many(self) -> bool:
        """Whether it takes a learner of many tasks."""
        return getattr(self.function, "many", False)

    def __call__(self, learner: Learner, *rest: Any, **options: Any) -> Outcome:
        chosen = replace(learner, steps=self.steps) if self.steps else learner
        return self.function(chosen, *rest, **self.args, **options)


def takes_many(chosen: Strategy) -> bool:
    """Whether it was marked with `for_many`."""
    return getattr(chosen, "many", False)


def for_many(function: Strategy) -> Strategy:
    """Mark a strategy that works for a learner of many tasks as for that of one."""
    function.many = True  # type: ignore[attr-defined]
    return function


def query_loss(
    learner: Learner, path: Sequence[Tensors], task: Task, shares: Sequence[float]
) -> tuple[Tensor, Scores]:
    """Query loss after the last step; with `shares`, a weighted sum of it after every step (MAML++)."""
    scores = learner.query_scores(path[-1], task)
    if not shares:
        return scores.loss, scores
    loss = shares[-1] * scores.loss
    for share, params in zip(shares[:-1], path[1:-1], strict=True):
        if share:
            loss = loss + share * learner.query_scores(params, task).loss
    return loss, scores
