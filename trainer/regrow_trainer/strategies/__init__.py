"""How the meta-gradient of one task is estimated. A strategy is one pure function in one file and one row."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from regrow_trainer.learner import Learner, Task
from regrow_trainer.tables import follow, path_of
from regrow_trainer.tensors import Tensors

# name -> "module:function"
STRATEGIES: dict[str, str] = {
    "first_order": "regrow_trainer.strategies.first_order:first_order",
    "second_order": "regrow_trainer.strategies.second_order:second_order",
}


class Outcome(NamedTuple):
    """Meta-gradients of the weights and of the rule's meta tensors, query loss and accuracy."""

    params: Tensors
    meta: Tensors
    loss: Tensor
    accuracy: Tensor


class Strategy(Protocol):
    """Made of torch operations only, so that it can be mapped over tasks."""

    def __call__(
        self, learner: Learner, params: Tensors, meta: Tensors, masks: Tensors, task: Task
    ) -> Outcome: ...


def strategy(name: str) -> Strategy:
    """Look a strategy up by name or dotted path."""
    found: Strategy = follow("strategy", path_of("strategy", name, STRATEGIES))
    return found
