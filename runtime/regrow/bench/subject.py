"""The side of a benchmark that is measured: one process that adapts and predicts when told to.

It does the whole way once, unasked (start, open, adapt, predict one query), and says so on stdout; then it
answers one JSON line per line of stdin: `adapt`, `predict N`, `logits`, `quit`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from regrow.bench import memory
from regrow.errors import RegrowError


class Episode(NamedTuple):
    """The same arrays for every subject."""

    x: NDArray[np.float32]
    y: NDArray[Any]
    query: NDArray[np.float32]


class Subject(Protocol):
    """What is timed. `adapt` starts from the bundle each time; `predict` uses what it left."""

    def adapt(self) -> None: ...

    def predict(self, count: int) -> NDArray[Any]:
        """The outputs for the first `count` queries."""
        ...


def read_episode(path: str | Path) -> Episode:
    """The episode the other side wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Episode(file["x"], file["y"], file["query"])


def serve(make: Callable[[], Subject], *, stdin: TextIO | None = None, stdout: TextIO | None = None) -> int:
    """Be a subject until told to quit; a refusal is an answer, too. Call it when all imports are done."""
    lines, out = stdin or sys.stdin, stdout or sys.stdout
    imported = memory.resident()
    try:
        subject = make()
        subject.adapt()
        subject.predict(1)
    except RegrowError as error:
        _say(out, {"refused": str(error)})
        return 2
    _say(out, {"ready": True, "imported_bytes": imported, "peak_bytes": memory.peak()})
    for line in lines:
        if line.strip() == "quit":
            break
        _say(out, _answer(subject, line.split()))
    return 0


def _answer(subject: Subject, words: list[str]) -> Mapping[str, Any]:
    match words:
        case ["adapt"]:
            return _timed(subject.adapt)
        case ["predict", count]:
            return _timed(lambda: subject.predict(int(count)))
        case ["logits", count]:
            return {"logits": np.asarray(subject.predict(int(count)), np.float64).tolist()}
    return {"refused": f"unknown request {' '.join(words)!r}, expected adapt, predict N, logits N or quit"}


def _timed(work: Callable[[], object]) -> dict[str, float]:
    """Wall time is what a user waits; processor time shows when the machine was busy with something else."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return {
        "cpu_ms": (time.process_time() - processor) * 1e3,
        "ms": (time.perf_counter() - wall) * 1e3,
    }


def _say(out: TextIO, message: Mapping[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()
