"""Two results of a benchmark side by side: what became slower, and whether the intervals say so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError

# By how much a median may rise before it counts, where the intervals are apart, too. Instruction counts
# hardly move between runs, so little is allowed of them.
ALLOWED = {"ms": 0.1, "bytes": 0.02, "instructions": 0.02}


@dataclass(frozen=True)
class Change:
    """One figure before and after."""

    what: str
    before: float
    after: float
    worse: bool

    @property
    def ratio(self) -> float:
        """After over before."""
        return self.after / self.before if self.before else 1.0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        facts = {"what": self.what, "before": self.before, "after": self.after}
        return {**facts, "ratio": self.ratio, "worse": self.worse}


def read(path: str) -> dict[str, Any]:
    """A result of `regrow bench --json`, of a suite, or of counted instructions."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RegrowError(
            f"bench compare: {path}: {error}; expected a JSON result of regrow bench"
        ) from error
    if not isinstance(found, dict) or not {"cases", "subjects", "instructions"} & set(found):
        raise RegrowError(
            f"bench compare: {path}: holds no result of regrow bench; name one made with --json"
        )
    return found


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Every figure that both hold."""
    before, after = dict(_figures(old)), dict(_figures(new))
    shared = [name for name in before if name in after]
    if not shared:
        raise RegrowError("bench compare: the two results share no figure; compare runs of the same suite")
    return [_change(name, before[name], after[name]) for name in shared]


def _change(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> Change:
    unit = next(unit for unit in ALLOWED if unit in name.rpartition(" ")[2])
    rise = after["median"] / before["median"] - 1 if before["median"] else 0.0
    apart = after["low"] > before["high"]
    return Change(name, before["median"], after["median"], rise > ALLOWED[unit] and apart)


def _figures(made: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, float]]]:
    for name, count in made.get("instructions", {}).items():
        yield f"{name}: instructions", {"median": count, "low": count, "high": count}
    for name, record in made.get("subjects", {}).items():
        yield from _subject(name, record)
    for case in made.get("cases", ()):
        for name, record in case["peers"].items():
            yield from _subject(f"{case['name']}, {name}", record)


def _subject(name: str, record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, float]]]:
    for key, figure in record.items():
        if isinstance(figure, dict) and "median" in figure and ("ms" in key or "bytes" in key):
            yield f"{name}: {key}", figure
