"""What an adaptable set may cost, and which sets are worth measuring. Names and numbers only."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from regrow.cli.command import byte_count
from regrow.errors import UnsupportedError
from regrow.select import select

Figure = Literal["peak_bytes", "delta_bytes", "ms"]
KINDS = ("@head", "@last:1", "@last:2", "@norm+bias")
_SECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_TIME = re.compile(r"([0-9.]+(?:e-?[0-9]+)?)\s*(us|ms|s)")


@dataclass(frozen=True)
class Budget:
    """One limit: planned peak memory of an adaptation, size of a saved delta, or milliseconds."""

    figure: Figure
    limit: float
    text: str


def parse_budget(text: str) -> Budget:
    """`64KiB` of peak memory, `delta:4KiB` of a saved delta, `5ms` of time.

    >>> parse_budget("delta:4KiB")
    Budget(figure='delta_bytes', limit=4096, text='delta:4KiB')
    """
    words, figure = text.strip(), "peak_bytes"
    if words.startswith("delta:"):
        words, figure = words.removeprefix("delta:"), "delta_bytes"
    timed = _TIME.fullmatch(words) if figure == "peak_bytes" else None
    try:
        limit = float(timed[1]) * _SECONDS[timed[2]] if timed else byte_count(words)
    except (ValueError, OverflowError):
        limit = math.nan
    if not 0 < limit < math.inf:
        raise UnsupportedError(
            f"export: budget {text!r}: expected a size such as 64KiB (peak memory of an adaptation), "
            "delta:4KiB (a saved delta), or a time such as 5ms"
        )
    return Budget("ms" if timed else figure, limit, text)  # type: ignore[arg-type]


def candidates(shapes: Mapping[str, Sequence[int]], own: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Patterns, as one would type them, to the parameters they name; equal sets once, under the first name.

    The caller's own patterns come first, then every union of the kinds, then everything.
    """
    unions = [c for count in range(1, len(KINDS) + 1) for c in combinations(KINDS, count)]
    made: dict[tuple[str, ...], str] = {}
    for patterns in ([tuple(own)] if own else []) + unions + [("*",)]:
        if patterns == tuple(own):
            chosen = select(shapes, patterns)
        else:
            try:
                chosen = select(shapes, patterns)
            except UnsupportedError:  # a network without a norm or a bias has no such set
                continue
        made.setdefault(chosen, " ".join(patterns))
    return {label: names for names, label in made.items()}
