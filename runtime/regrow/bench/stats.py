"""Medians and intervals that assume nothing about how timings are distributed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A median and its 95 % interval (the whole range where there are fewer than six values)."""

    median: float
    low: float
    high: float
    count: int

    def to_json(self) -> dict[str, float]:
        return {"median": self.median, "low": self.low, "high": self.high, "count": self.count}


def spread(values: Sequence[float]) -> Spread:
    """The interval between order statistics that covers the median with 95 % (binomial)."""
    ordered = sorted(values)
    n = len(ordered)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    cut = max(0, _rank(n))
    return Spread(middle, ordered[cut], ordered[n - 1 - cut], n)


def ratios(a: Sequence[float], b: Sequence[float]) -> Spread:
    """Pair by pair a / b: what disturbs the machine disturbs both halves of a pair."""
    return spread([x / y for x, y in zip(a, b, strict=True)])


def _rank(n: int) -> int:
    """The largest r with P(at most r of n values lie below the median) <= 2.5 %, or -1."""
    below, r = 0.0, -1
    while True:
        below += math.comb(n, r + 1) / 2**n
        if below > 0.025:
            return r
        r += 1
