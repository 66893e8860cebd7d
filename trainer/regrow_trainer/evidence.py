"""What a pruner may see, over tasks that training does not: meta-gradients, and the inputs of the layers.

Tasks are worked on in parallel and summed up in order, so the bits do not depend on the number of threads.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from regrow.errors import UnsupportedError
from regrow.progress import Progress
from regrow_trainer import curvature
from regrow_trainer.batching import Workers
from regrow_trainer.build import Built, open_data
from regrow_trainer.columns import Layer, blocks, layer_of, matrix, parts, query_columns, whole
from regrow_trainer.curvature import Curvature, Direct, Recursive
from regrow_trainer.feed import EVIDENCE, TRAIN, draw, stream_seed
from regrow_trainer.learner import Learner, Task
from regrow_trainer.pruners import Asked, Evidence, prunable
from regrow_trainer.ranks import Ranks
from regrow_trainer.rates import last_rates
from regrow_trainer.state import State
from regrow_trainer.strategies import takes_many
from regrow_trainer.tensors import Tensors

_GRADIENT_TASKS = 128


def evidence(built: Built, state: State, pool: Workers, ranks: Ranks) -> Evidence:
    """Everything a pruner may ask for about a state."""
    return Evidence(
        state.params,
        _names(built, state),
        state.masks,
        built.recipe.seed,
        partial(_gradients, built, state, pool, ranks),
        partial(_curvatures, built, state, pool, ranks),
        partial(_rates, built, state, pool, ranks),
    )


def _names(built: Built, state: State) -> tuple[str, ...]:
    plan = built.recipe.prune
    return prunable(state.params, plan.spare if plan else ())


@dataclass(frozen=True)
class Seen:
    """The curvatures of all layers, one per block of each group of a layer's channels."""

    layers: tuple[Layer, ...]
    curvatures: Mapping[str, tuple[Curvature, ...]]

    @property
    def nbytes(self) -> int:
        """State that is held until the weights are repaired."""
        return sum(c.nbytes for group in self.curvatures.values() for c in group)

    def scores(self, params: Tensors, masks: Tensors) -> Tensors:
        """What removing each weight costs, the others making up for it."""
        return {layer.weight: self._scores(layer, params, masks) for layer in self.layers}

    def repaired(self, params: Tensors, masks: Tensors) -> Tensors:
        """Weights and biases of all layers, changed for what the masks remove."""
        made: Tensors = {}
        for layer in self.layers:
            new = self._each(curvature.compensated, layer, params, masks)
            made[layer.weight], bias = parts(layer, new, params[layer.weight].shape)
            if bias is not None:
                made[layer.bias] = bias
        return made

    def _scores(self, layer: Layer, params: Tensors, masks: Tensors) -> Tensor:
        found = self._each(curvature.importance, layer, params, masks)
        return parts(layer, found, params[layer.weight].shape)[0]

    def _each(
        self,
        function: Callable[[Curvature, Tensor, Tensor], Tensor],
        layer: Layer,
        params: Tensors,
        masks: Tensors,
    ) -> Tensor:
        """What a function makes of every block's curvature, weights and mask, laid out as by `matrix`."""
        weights, kept = matrix(params, layer), self._kept(layer, params, masks)
        each = zip(self.curvatures[layer.weight], blocks(layer, weights), blocks(layer, kept), strict=True)
        return whole(layer, [function(c, w, k) for c, w, k in each], weights)

    def _kept(self, layer: Layer, params: Tensors, masks: Tensors) -> Tensor:
        """The mask as `matrix` lays it out; what goes with the constant always stays."""
        every = {n: torch.ones_like(params[n], dtype=torch.bool) for n in (layer.weight, layer.bias) if n}
        kept = matrix({**every, layer.weight: masks.get(layer.weight, every[layer.weight])}, layer)
        if layer.constant:
            kept[..., -1] = True
        return kept


def _tasks(built: Built, ranks: Ranks, count: int) -> Task:
    recipe = built.recipe
    source = open_data(recipe, recipe.data.train)
    # A pool of tasks is all there is: then these are the very ones that training sees.
    pool = recipe.train.task_pool
    seed = stream_seed(recipe.seed, TRAIN if pool else EVIDENCE)
    return draw(source, recipe.data, recipe.input, recipe.data.queries, seed, *ranks.part(count), pool)


def _gradients(
    built: Built, state: State, pool: Workers, ranks: Ranks, function: Callable[[Tensor], Tensor]
) -> Tensors:
    params, meta, masks, estimate = state.params, state.meta, state.masks, built.strategy

    def one(learner: Learner, task: Task) -> Tensors:
        own, rates = learner.spread(params), learner.spread(meta)
        return {n: function(g) for n, g in estimate(learner, own, rates, masks, task).params.items()}

    tasks = _tasks(built, ranks, _GRADIENT_TASKS)
    with _shown(tasks, "gradients", ranks) as progress:
        return pool.mean(one, tasks, many=takes_many(estimate), progress=progress)


def _rates(built: Built, state: State, pool: Workers, ranks: Ranks) -> Tensors:
    given = (state.params, state.meta, state.masks)
    tasks = _tasks(built, ranks, _GRADIENT_TASKS)
    with _shown(tasks, "rates", ranks) as progress:
        return pool.mean(lambda learner, task: last_rates(learner, *given, task), tasks, progress=progress)


def _shown(tasks: Task, label: str, ranks: Ranks) -> Progress:
    return Progress(len(tasks.support_x), label, stream=None if ranks.leads else io.StringIO())


def _curvatures(built: Built, state: State, pool: Workers, ranks: Ranks, asked: Asked) -> Seen:
    if ranks.world > 1 and (asked.recursive or asked.tasks < ranks.world):
        raise UnsupportedError(
            f"prune.args: tasks {asked.tasks}, recursive {asked.recursive} in {ranks.world} processes, "
            "expected a task for each and sums that can be shared; drop recursive or start one process"
        )
    layers = tuple(layer_of(built.learner.module, name, asked.block) for name in _names(built, state))
    tasks = _tasks(built, ranks, asked.tasks)
    # Reptile has no last step: what it learns from is the whole way.
    every = built.recipe.train.strategy == "reptile"
    sums: dict[str, list[Direct | Recursive]] = {}
    with _shown(tasks, "inputs", ranks) as progress:
        for done, found in enumerate(pool.stream(partial(_look, state, layers, asked, every), tasks), 1):
            for layer in layers:
                z = blocks(layer, found[layer.weight])
                if layer.weight not in sums:
                    sums[layer.weight] = [_accumulator(asked, len(inputs)) for inputs in z]
                for total, inputs in zip(sums[layer.weight], z, strict=True):
                    total.add(inputs)
            progress.update(done)
    return Seen(layers, {n: tuple(_shared(t, ranks).done() for t in totals) for n, totals in sums.items()})


def _accumulator(asked: Asked, columns: int) -> Direct | Recursive:
    if asked.recursive:
        return Recursive(asked.alpha, columns * asked.tasks)
    return Direct(asked.alpha)


def _shared(total: Direct | Recursive, ranks: Ranks) -> Direct | Recursive:
    if isinstance(total, Direct):
        total.total = ranks.total(total.total)
        total.count = int(ranks.total(torch.tensor(float(total.count), dtype=torch.float64)))
    return total


def _look(
    state: State, layers: tuple[Layer, ...], asked: Asked, every: bool, learner: Learner, task: Task
) -> Tensors:
    points = [state.params]
    if asked.adapted:
        x, y = task.support_x, task.support_y
        path = learner.path(state.params, state.meta, state.masks, x, y, learner.steps)
        points = path[1:] if every else path[-1:]
    seen = [query_columns(learner, point, task, layers, asked.columns) for point in points]
    return {layer.weight: torch.cat([s[layer.weight] for s in seen], 1) for layer in layers}
