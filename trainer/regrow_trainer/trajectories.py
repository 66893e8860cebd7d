"""One iteration of the strategy `unrolled`: every task is a trajectory, and the rule moves after each window.

An iteration ends with its trajectories, so a run stops and goes on between two of them with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from regrow.episodes.draws import Draws
from regrow_trainer import backbones
from regrow_trainer.batching import Workers
from regrow_trainer.build import Built
from regrow_trainer.learner import Learner, Scores, Task, initial_params
from regrow_trainer.ranks import Ranks
from regrow_trainer.state import State
from regrow_trainer.strategies.unrolled import Unrolled, Walk, weights, windows
from regrow_trainer.tensors import Tensors, zero

Result = TypeVar("Result")  # tensors with a row per task
Step = Callable[[State, Tensors, Tensors], State]  # weights' and rule's gradients applied


def walked(
    built: Built, chosen: Unrolled, state: State, tasks: Task, pool: Workers, ranks: Ranks, step: Step
) -> tuple[State, Scores]:
    """The state after all windows of a batch of trajectories, and how their learners end on the queries."""
    options, before = built.recipe.train, state.iteration
    first, count = ranks.part(options.tasks)
    starts = [_begin(built, chosen, state, first + i) for i in range(count)]
    walks: Walk = tree_map(lambda *parts: torch.stack(parts), *starts)
    still = {n: torch.zeros_like(p) for n, p in state.params.items()}
    for at, length in windows(options.steps or built.learner.steps, chosen.window):
        grads, walks = _advanced(chosen, state, tasks, walks, pool, at, length)
        made = step(replace(state, iteration=before), still, _mean(grads, count, ranks))
        state = replace(made, iteration=before + 1)
    with torch.no_grad():
        ends = _along(
            pool, lambda learner, task, walk: learner.query_scores(weights(walk), task), tasks, walks
        )
    return state, _mean(ends, count, ranks)


def _begin(built: Built, chosen: Unrolled, state: State, number: int) -> Walk:
    """Trajectory `number` of an iteration: weights of its own, the same whenever it is begun again."""
    draws = Draws("trajectory", built.recipe.seed, state.iteration, number)
    path, args = built.backbone["path"], built.backbone["args"]
    module = backbones.build(path, args, int(draws.below(1, 1 << 31)[0]))
    return chosen.begin(built.learner, zero(state.masks, initial_params(module)), state.meta, draws)


def _advanced(
    chosen: Unrolled, state: State, tasks: Task, walks: Walk, pool: Workers, first: int, length: int
) -> tuple[Tensors, Walk]:
    """Gradients of the rule's meta tensors, and the walks a window later; one row per task."""

    def advance(learner: Learner, task: Task, walk: Walk) -> tuple[Tensors, Walk]:
        out, walk = chosen.advance(learner, state.meta, state.masks, task, walk, first, length)
        return out.meta, walk

    return _along(pool, advance, tasks, walks)


def _along(
    pool: Workers, function: Callable[[Learner, Task, Walk], Result], tasks: Task, walks: Walk
) -> Result:
    """A function of every task and its walk."""
    leaves, form = tree_flatten(walks)
    return pool.each(
        lambda learner, task, *parts: function(learner, task, tree_unflatten(parts, form)), tasks, *leaves
    )


def _mean(rows: Result, count: int, ranks: Ranks) -> Result:
    """Over the rows of all processes."""
    total, number = ranks.total((tree_map(lambda t: t.sum(0), rows), torch.tensor(float(count))))
    made: Result = tree_map(lambda t: t / number, total)
    return made
