"""The side of a peer: one process that adapts and predicts when told to, whatever framework it uses.

`python -m benchmarks.peers.NAME CASE make` writes what has to be made ahead of time, where there is such a
thing. `python -m benchmarks.peers.NAME CASE [OPTION ...]` goes the whole way once, unasked (import, load,
adapt, predict one query), and says so on stdout. Then it answers a line of JSON per line of stdin: `adapt N`,
`predict N`, `logits`, `memory`, `quit`. Weights are put back before each adaptation, and that is not timed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.case import Case, read
from benchmarks.workloads import QUERIES, STEPS
from regrow.bench import memory


class Subject(Protocol):
    """What is timed."""

    def reset(self) -> None:
        """Back to the weights of the case."""
        ...

    def adapt(self, steps: int) -> None:
        """So many steps on the support set."""
        ...

    def predict(self, query: NDArray[np.float32]) -> NDArray[Any]:
        """Outputs by the adapted weights."""
        ...

    def artifact_bytes(self) -> int:
        """What a device has to store to load this."""
        ...


class Peer:
    """A subject and what it imports, so that the cost of importing is known apart."""

    def __init__(self, imports: Callable[[], None], load: Callable[[Case, list[str]], Subject]) -> None:
        self.imports, self.load = imports, load


def main(peer: Peer, make: Callable[[Case], None] | None = None) -> int:
    """Be a peer until told to quit; a refusal is an answer, too. `make` writes its files beforehand."""
    folder, *options = sys.argv[1:]
    if options == ["make"]:
        if make:
            make(read(folder))
        return 0
    _pin()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # some frameworks print on stdout
    floor, began = memory.resident(), time.process_time()
    try:
        peer.imports()
        imported, took = memory.resident(), time.process_time() - began
        case = read(folder)
        subject = peer.load(case, options)
        subject.reset()
        subject.adapt(STEPS)
        adapted = memory.peak()
        subject.predict(case.query[:1])
        first = memory.peak()
    except NotImplementedError as refusal:
        _say(out, {"refused": str(refusal)})
        return 2
    facts = {"floor_bytes": floor, "imported_bytes": imported, "import_cpu_ms": took * 1e3}
    facts |= {"adapted_bytes": adapted, "peak_bytes": first, "cpu_ms": time.process_time() * 1e3}
    _say(out, {"ready": True, **facts, "artifact_bytes": subject.artifact_bytes()})
    for line in sys.stdin:
        words = line.split()
        if words == ["quit"]:
            break
        _say(out, _answer(subject, case, words))
    return 0


def threads() -> int:
    """How many a peer may use: one, unless the run is about all cores."""
    return int(os.environ.get("REGROW_BENCH_THREADS", "1"))


def _pin() -> None:
    """A run on one thread stays on one core."""
    if threads() == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _answer(subject: Subject, case: Case, words: list[str]) -> Mapping[str, Any]:
    match words:
        case ["adapt", steps]:
            subject.reset()
            return _timed(lambda: subject.adapt(int(steps)))
        case ["predict", count]:
            return _timed(lambda: subject.predict(case.query[: int(count)]))
        case ["logits"]:
            subject.reset()
            subject.adapt(STEPS)
            return {"logits": np.asarray(subject.predict(case.query[:QUERIES]), np.float64).tolist()}
        case ["memory"]:
            return {"peak_bytes": memory.peak()}
    return {"refused": f"unknown request {' '.join(words)!r}"}


def _timed(work: Callable[[], object]) -> dict[str, float]:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    return {"ms": wall * 1e3, "cpu_ms": processor * 1e3}


def _say(out: Any, message: Mapping[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()
