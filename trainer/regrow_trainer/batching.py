"""Run a function of one task over a meta-batch: tasks in chunks, chunks over worker threads.

A chunk is mapped with `torch.func.vmap` or looped over. Chunks do not depend on the number of workers and are
reduced in order, so a run gives the same bits on any number of cores.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from regrow.progress import Told
from regrow_trainer.device import put
from regrow_trainer.learner import Learner, Task
from regrow_trainer.many import Many
from regrow_trainer.ranks import ALONE, CPU, Ranks

Batching = Literal["auto", "vmap", "loop"]
Result = TypeVar("Result")  # a tensor, or named tuples and dicts of tensors

_FIELDS = len(Task._fields)


class Workers:
    """Owns threads, each with a learner of its own; use it in a `with` block."""

    def __init__(
        self,
        learner: Learner,
        batching: Batching = "auto",
        count: int | None = None,
        chunk: int = 4,
        ranks: Ranks = ALONE,
        device: torch.device = CPU,
    ) -> None:
        self._learner, self._batching, self._size, self._ranks = learner, batching, chunk, ranks
        self._device = device
        self._local = threading.local()
        self._threads_before = torch.get_num_threads()
        # A GPU takes its work from one thread.
        self._count = 1 if device.type == "cuda" else count or usable_cores()
        self._pool = ThreadPoolExecutor(self._count, "tasks", self._start_worker)

    def _start_worker(self) -> None:
        # Workers share the cores; threads inside an operation would fight over them.
        torch.set_num_threads(1)
        self._local.learner = self._learner.replica(self._device)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads_before)

    def each(self, function: Callable[..., Result], tasks: Task, *more: Tensor) -> Result:
        """What `function(learner, task, *more)` makes of every task, stacked along a leading dimension."""
        parts = self._parts((*tasks, *more))
        return _tree(torch.cat, list(self._pool.map(lambda part: self._chunk(function, part), parts)))

    def mean(
        self,
        function: Callable[..., Result],
        tasks: Task,
        *,
        many: bool = False,
        progress: Told | None = None,
    ) -> Result:
        """The mean of `function` over the tasks, those of the other processes included.

        With `many` it takes a learner of many tasks, and what it makes has a leading dimension.
        """
        parts = self._parts(tasks)
        together = many and self._batching != "loop"
        sums, done = [], 0
        for part, made_of_it in zip(
            parts, self._pool.map(lambda part: self._sum(function, part, together), parts), strict=True
        ):
            sums.append(made_of_it)
            done += len(part[0])
            if progress is not None:
                progress.update(done)
        own = torch.tensor(float(len(tasks.support_x)), device=self._device)
        total, count = self._ranks.total((_tree(_added, sums), own))
        made: Result = tree_map(lambda t: t / count, total)
        return made

    def stream(self, function: Callable[..., Result], tasks: Task) -> Iterator[Result]:
        """What `function` makes of each task, one after another; few results are in memory at a time."""
        waiting: deque[Future[Result]] = deque()
        for parts in zip(*tasks, strict=True):
            waiting.append(
                self._pool.submit(self._single, function, Task(*(put(t, self._device) for t in parts)))
            )
            if len(waiting) > self._count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _single(self, function: Callable[..., Result], task: Task) -> Result:
        return function(self._local.learner, task)

    def _parts(self, tensors: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        moved = (torch.split(put(t, self._device), self._size) for t in tensors)
        return list(zip(*moved, strict=True))

    def _sum(self, function: Callable[..., Result], part: tuple[Tensor, ...], together: bool) -> Result:
        # Summed where it was made: of a large network, one gradient per task would fill the memory.
        made = self._together(function, part) if together else self._chunk(function, part)
        total: Result = tree_map(lambda t: t.sum(0), made)
        return total

    def _together(self, function: Callable[..., Result], part: tuple[Tensor, ...]) -> Result:
        return function(Many.of(self._local.learner, len(part[0])), Task(*part))

    def _chunk(self, function: Callable[..., Result], part: tuple[Tensor, ...]) -> Result:
        learner: Learner = self._local.learner

        def one(*tensors: Tensor) -> Result:
            return function(learner, Task(*tensors[:_FIELDS]), *tensors[_FIELDS:])

        if self._batching == "loop":
            return _tree(torch.stack, [one(*tensors) for tensors in zip(*part, strict=True)])
        made: Result = vmap(one)(*part)
        return made


def _tree(reduce: Callable[[list[Tensor]], Tensor], results: list[Result]) -> Result:
    made: Result = tree_map(lambda *tensors: reduce(list(tensors)), *results)
    return made


def _added(tensors: list[Tensor]) -> Tensor:
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def usable_cores() -> int:
    """Cores for this process: a container or taskset may allow fewer, and torchrun's others share them."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
