"""Energy of the whole machine or board, by counters that the system shows: RAPL's, and a board's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECONDS = 1.0  # long against the counter's own tick of about a millisecond


@dataclass(frozen=True)
class Counter:
    """One counter of microjoules, and where it starts over."""

    path: Path
    wraps: int | None


def counters(system: Path = Path("/sys")) -> list[Counter]:
    """Those that may be read: packages of RAPL (their parts are within them), else energy of sensors."""
    found = []
    for folder in sorted((system / "class" / "powercap").glob("*-rapl:?")):
        limit = folder / "max_energy_range_uj"
        found.append(Counter(folder / "energy_uj", _number(limit)))
    found = found or [
        Counter(path, None) for path in sorted((system / "class" / "hwmon").glob("*/energy*_input"))
    ]
    return [counter for counter in found if _number(counter.path) is not None]


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def used(held: list[Counter], work: Callable[[], object], seconds: float = SECONDS) -> tuple[float, int]:
    """Joules per call of `work`, called again until the time is over; and how many calls that were."""
    before, began, calls = [_number(c.path) or 0 for c in held], time.perf_counter(), 0
    while not calls or time.perf_counter() - began < seconds:
        work()
        calls += 1
    total = 0
    for counter, first in zip(held, before, strict=True):
        grown = (_number(counter.path) or 0) - first
        total += grown + (counter.wraps or 0) if grown < 0 else grown
    return total / 1e6 / calls, calls
