"""Meta-batches, drawn ahead of use by a background thread. Batch `i` of a seed is always the same."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regrow.episodes import Episode, Source, sample, stack
from regrow_trainer.learner import Task
from regrow_trainer.recipe import Data, Input

_AHEAD = 4
# Streams of one recipe seed. Two streams must never share episodes.
TRAIN, VALIDATION, TEST, EVIDENCE = range(4)


def stream_seed(seed: int, stream: int) -> int:
    """The sampler's seed for one of a recipe's streams."""
    return 4 * seed + stream


def to_task(episodes: Sequence[Episode], spec: Input) -> Task:
    """Stack episodes into tensors, inputs scaled as the model wants them."""
    batch = stack(episodes)
    return Task(
        _scaled(batch.support_x, spec),
        torch.from_numpy(batch.support_y),
        _scaled(batch.query_x, spec),
        torch.from_numpy(batch.query_y),
    )


def _scaled(x: NDArray[np.float32], spec: Input) -> Tensor:
    return torch.from_numpy(x if spec == Input() else (x - np.float32(spec.mean)) / np.float32(spec.std))


def draw(
    source: Source, data: Data, spec: Input, queries: int, seed: int, first: int, count: int, pool: int = 0
) -> Task:
    """Episodes `first` .. `first + count - 1` of a seed as one batch; of a pool, the same again and again."""
    sizes = (data.n_way, data.k_shot, queries, seed)
    indices = [i % pool if pool else i for i in range(first, first + count)]
    return to_task([sample(source, *sizes, index) for index in indices], spec)


@contextmanager
def batches(
    source: Source,
    data: Data,
    spec: Input,
    seed: int,
    tasks: int,
    start: int,
    stop: int,
    part: tuple[int, int] | None = None,
    pool: int = 0,
) -> Iterator[Iterator[Task]]:
    """An iterator over batches `start` .. `stop - 1`; leaving the block ends the thread.

    `part` is the first and the number of the tasks to draw of each batch, all of them by default.
    """
    first, count = part or (0, tasks)
    ready: queue.Queue[Task | BaseException] = queue.Queue(_AHEAD)
    ended = threading.Event()

    def offer(item: Task | BaseException) -> None:
        while not ended.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for i in range(start, stop):
                if ended.is_set():
                    return
                offer(draw(source, data, spec, data.queries, seed, i * tasks + first, count, pool))
        except BaseException as error:
            offer(error)  # the consumer raises it

    def taken() -> Iterator[Task]:
        for _ in range(start, stop):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="episodes", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        ended.set()
        thread.join()
