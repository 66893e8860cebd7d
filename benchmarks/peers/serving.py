"""The side of a peer: one process that adapts and predicts when told to, whatever framework it uses.

`python -m benchmarks.peers.NAME CASE make` writes what has to be made ahead of time, where there is such a
thing. `python -m benchmarks.peers.NAME CASE [OPTION ...]` goes the whole way once, unasked (import, load,
adapt, predict one query), and says so on stdout. Then it answers a line of JSON per line of stdin: `adapt N`,
`predict N`, `logits`, `quit`. Weights are put back before each adaptation, and that is not timed; nor is
laying samples out as the framework wants them, which an application does where they arise.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.case import Case, read
from benchmarks.peers.counters import Instructions, allocations
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

    def predict(self, query: Any) -> NDArray[Any]:
        """Outputs by the adapted weights, of queries that are laid out."""
        ...

    def artifact_bytes(self) -> int:
        """What a device has to store to load this."""
        ...


def _as_they_are(subject: Any, query: NDArray[np.float32]) -> Any:
    return query


def _nothing(subject: Any) -> dict[str, int]:
    return {}


@dataclass(frozen=True)
class Peer:
    """A subject and what it imports, so that the cost of importing is known apart; how it wants its queries,
    and what else it knows of itself.
    """

    imports: Callable[[], None]
    load: Callable[[Case, list[str]], Subject]
    laid: Callable[[Any, NDArray[np.float32]], Any] = _as_they_are
    about: Callable[[Any], dict[str, int]] = _nothing


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
    counter = Instructions()  # before the imports: threads that they start are counted with it
    floor, began, allocated = memory.resident(), time.process_time(), allocations()
    try:
        peer.imports()
        imported, took = memory.resident(), time.process_time() - began
        allocated.mark()
        case = read(folder)
        subject = peer.load(case, options)
        queries = {n: peer.laid(subject, case.query[:n]) for n in (1, QUERIES)}
        subject.reset()
        subject.adapt(STEPS)
        subject.predict(queries[1])
        first, most = memory.peak(), allocated.most()
    except NotImplementedError as refusal:
        _say(out, {"refused": str(refusal)})
        return 2
    facts = {"floor_bytes": floor, "imported_bytes": imported, "import_cpu_ms": took * 1e3}
    facts |= {"peak_bytes": first, "cpu_ms": time.process_time() * 1e3}
    facts |= {} if most is None else {"allocated_bytes": most}
    _say(out, {"ready": True, **facts, **peer.about(subject), "artifact_bytes": subject.artifact_bytes()})
    for line in sys.stdin:
        words = line.split()
        if words == ["quit"]:
            break
        _say(out, _answer(subject, queries, words, counter))
    return 0


def threads() -> int:
    """How many a peer may use: one, unless the run is about all cores."""
    return int(os.environ.get("REGROW_BENCH_THREADS", "1"))


def _pin() -> None:
    """A run on one thread stays on one core."""
    if threads() == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _answer(
    subject: Subject, queries: Mapping[int, Any], words: list[str], counter: Instructions
) -> Mapping[str, Any]:
    match words:
        case ["adapt", steps]:
            subject.reset()
            return _timed(lambda: subject.adapt(int(steps)), counter)
        case ["predict", count]:
            return _timed(lambda: subject.predict(queries[int(count)]), counter)
        case ["logits"]:
            subject.reset()
            subject.adapt(STEPS)
            return {"logits": np.asarray(subject.predict(queries[QUERIES]), np.float64).tolist()}
    return {"refused": f"unknown request {' '.join(words)!r}"}


def _timed(work: Callable[[], object], counter: Instructions) -> dict[str, float]:
    before = counter.read()
    wall, processor = time.perf_counter(), time.process_time()
    work()
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    made = {"ms": wall * 1e3, "cpu_ms": processor * 1e3}
    after = counter.read()
    return made if before is None or after is None else made | {"instructions": after - before}


def _say(out: Any, message: Mapping[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()
