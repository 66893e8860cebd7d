"""By how much a process grows while something runs, sampled; the peak of the whole process would hide it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from regrow_trainer import training
from regrow_trainer.pruning import prune_round


@contextmanager
def watched() -> Iterator[list[int]]:
    """By how many bytes this process grew while the block ran, at most; sampled."""
    grown, ended, before = [0], threading.Event(), _resident()

    def watch() -> None:
        while not ended.wait(0.002):
            grown[0] = max(grown[0], _resident() - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield grown
    finally:
        ended.set()
        thread.join()


@contextmanager
def measured_rounds() -> Iterator[list[int]]:
    """The same for every round of pruning of the runs inside."""
    grown: list[int] = []

    def round_(*args: Any) -> Any:
        with watched() as most:
            made = prune_round(*args)
        grown.append(max(most))
        return made

    with patch.object(training, "prune_round", round_):
        yield grown


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
