"""A smooth learner in double precision, and finite differences of its query loss."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from regrow_trainer.learner import Learner, Task, initial_params, make_learner
from regrow_trainer.rules import Rule
from regrow_trainer.rules.sgd import sgd
from regrow_trainer.tensors import Tensors

RATE = 0.3


class Tanh(nn.Module):
    """Smooth, so that finite differences are exact enough."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(x)))


def smooth(
    steps: int = 3,
    patterns: tuple[str, ...] = ("*",),
    rule: Rule | None = None,
    make: Callable[[], nn.Module] = Tanh,
) -> tuple[Learner, Tensors, Tensors, Task]:
    """A double-precision learner, its parameters, its rule's meta tensors and one task."""
    torch.manual_seed(0)
    module = make().double()
    learner = make_learner(module, rule or sgd(RATE), patterns, steps, "cross_entropy", "none")
    params = initial_params(module)
    made = learner.rule.meta({n: params[n] for n in learner.adaptable})
    # A rate is made in single precision, where 0.3 is another number.
    meta = {n: torch.where(t == torch.tensor(RATE), RATE, t.double()) for n, t in made.items()}
    x = [torch.randn(n, 4, dtype=torch.float64) for n in (6, 9)]
    y = [torch.arange(n) % 3 for n in (6, 9)]
    return learner, params, meta, Task(x[0], y[0], x[1], y[1])


def outer(learner: Learner, params: Tensors, meta: Tensors, task: Task) -> float:
    adapted = learner.adapt(params, meta, {}, task.support_x, task.support_y, learner.steps)
    return float(learner.query_scores(adapted, task).loss)


def differences(f: Callable[[Tensors], float], at: Tensors, h: float = 1e-5) -> Tensors:
    """Central differences of f in every coordinate."""
    made = {}
    for name, value in at.items():
        grad = torch.zeros_like(value)
        for i in range(value.numel()):
            ends = []
            for sign in (h, -h):
                moved = value.clone()
                moved.view(-1)[i] += sign
                ends.append(f({**at, name: moved}))
            grad.view(-1)[i] = (ends[0] - ends[1]) / (2 * h)
        made[name] = grad
    return made


def gap(a: Tensors, b: Tensors) -> float:
    """Relative distance of two dicts."""
    flat = [torch.cat([d[n].flatten() for n in sorted(a)]) for d in (a, b)]
    return float((flat[0] - flat[1]).norm() / flat[1].norm())
