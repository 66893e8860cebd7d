"""The queue of adaptations: bounded, owners in turn, one per session, on threads of its own.

The bound is each owner's, and so is the order of coming: who asks for many waits behind their own, and
neither fills the queue of others nor keeps them from their turn.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from regrow.serve.metrics import Metrics
from regrow.serve.problems import ProblemError

NICENESS = 10


class StoppedError(Exception):
    """The service is going down: raised inside an adaptation, which then has changed nothing."""


@dataclass(frozen=True)
class Job:
    """`work` runs on a thread of the worker and must not raise; what it returns is called once it is over."""

    key: str
    work: Callable[[], Callable[[], None]]
    refuse: Callable[[ProblemError], None]
    since: float


class Worker:
    """`threads` adaptations at once, at most `bound` more waiting of each owner."""

    def __init__(self, threads: int, bound: int, metrics: Metrics) -> None:
        self._bound, self._metrics = bound, metrics
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()  # whose turn is next stands first
        self._keys: set[str] = set()
        self._changed = threading.Condition()
        self._closing = self._expired = False
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def waiting(self) -> int:
        """How many have not begun."""
        with self._changed:
            return sum(map(len, self._waiting.values()))

    def busy(self, key: str) -> bool:
        """Whether a session waits or learns."""
        return key in self._keys

    def submit(
        self,
        owner: str,
        key: str,
        work: Callable[[], Callable[[], None]],
        refuse: Callable[[ProblemError], None],
    ) -> int:
        """Queue one adaptation; returns how many are before it."""
        with self._changed:
            if self._closing:
                raise ProblemError("stopping", "adapt: the service is stopping; try again when it is back")
            if key in self._keys:
                raise ProblemError(
                    "busy", "adapt: this session is already learning; wait until it has finished"
                )
            own = self._waiting.get(owner, deque())
            if len(own) >= self._bound:
                raise ProblemError(
                    "queue-full",
                    f"adapt: {len(own)} adaptations wait, expected fewer than {self._bound}; try "
                    "again in a moment",
                    headers={"retry-after": "1"},
                    limit=self._bound,
                )
            before = self._before(owner)
            self._keys.add(key)
            self._waiting.setdefault(owner, own).append(Job(key, work, refuse, time.monotonic()))
            self._changed.notify()
            return before

    def _before(self, owner: str) -> int:
        """Running ones, and those whose turn comes before that of a new one of this owner."""
        rounds, first = len(self._waiting.get(owner, ())), True
        before = len(self._keys) - self.waiting + rounds
        for other, jobs in self._waiting.items():
            if other == owner:
                first = False
            else:
                before += min(len(jobs), rounds + 1 if first else rounds)
        return before

    def check(self) -> None:
        """Called between steps: the way a running adaptation learns that it must stop."""
        if self._expired:
            raise StoppedError

    def close(self, grace: float) -> None:
        """Refuse what waits, let what runs finish within `grace` seconds, then stop it at its next step."""
        with self._changed:
            self._closing = True
            refused = [job for jobs in self._waiting.values() for job in jobs]
            self._waiting.clear()
            self._changed.notify_all()
        for job in refused:
            job.refuse(ProblemError("stopping", "adapt: the service is stopping; nothing was changed"))
        until = time.monotonic() + grace
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._expired = True
        for thread in self._threads:
            thread.join(grace)

    def _run(self) -> None:
        _step_back()
        while (job := self._next()) is not None:
            self._metrics.observe("regrow_wait_seconds", time.monotonic() - job.since)
            announce = job.work()
            # Whoever hears that it is over must find the session free.
            with self._changed:
                self._keys.discard(job.key)
            announce()

    def _next(self) -> Job | None:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            return self._take() if self._waiting else None

    def _take(self) -> Job:
        owner, jobs = self._waiting.popitem(last=False)
        job = jobs.popleft()
        if jobs:
            self._waiting[owner] = jobs  # behind all others
        return job


def _step_back() -> None:
    """Predictions go first where both want the processor: on Linux a thread has a priority of its own."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    except (AttributeError, OSError):
        return
