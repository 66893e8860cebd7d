"""A bucket per client that fills at a steady rate and is emptied by requests."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

CLIENTS = 4096


class Rate:
    """Used by one event loop only, so it has no lock. The clients seen longest ago are forgotten."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take one; 0, or the seconds until there will be one again."""
        now = self._clock()
        level, then = self._buckets.pop(client, (float(self._burst), now))
        level = min(float(self._burst), level + (now - then) * self._per_second)
        allowed = level >= 1
        self._buckets[client] = (level - allowed, now)
        while len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - level) / self._per_second
