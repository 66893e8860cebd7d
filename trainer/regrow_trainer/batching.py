"""Run a function of one task over a meta-batch: tasks in chunks, chunks over worker threads.

A chunk is mapped with `torch.func.vmap` or looped over. Chunks do not depend on the number of workers and are
reduced in order, so a run gives the same bits on any number of cores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from regrow_trainer.learner import Learner, Task

Batching = Literal["auto", "vmap", "loop"]
Result = TypeVar("Result")  # a tensor, or named tuples and dicts of tensors

_FIELDS = len(Task._fields)


class Workers:
    """Owns threads, each with a learner of its own; use it in a `with` block."""

    def __init__(
        self, learner: Learner, batching: Batching = "auto", count: int | None = None, chunk: int = 4
    ) -> None:
        self._learner, self._batching, self._size = learner, batching, chunk
        self._local = threading.local()
        self._threads_before = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(count or usable_cores(), "tasks", self._start_worker)

    def _start_worker(self) -> None:
        # Workers share the cores; threads inside an operation would fight over them.
        torch.set_num_threads(1)
        self._local.learner = self._learner.replica()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads_before)

    def each(self, function: Callable[..., Result], tasks: Task, *more: Tensor) -> Result:
        """What `function(learner, task, *more)` makes of every task, stacked along a leading dimension."""
        parts = zip(*(torch.split(t, self._size) for t in (*tasks, *more)), strict=True)
        return _tree(torch.cat, list(self._pool.map(lambda part: self._chunk(function, part), parts)))

    def mean(self, function: Callable[..., Result], tasks: Task) -> Result:
        """The mean of `function` over the tasks."""
        made: Result = tree_map(lambda t: t.mean(0), self.each(function, tasks))
        return made

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


def usable_cores() -> int:
    """Cores this process may use, which a container or taskset can make fewer than there are."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
