"""The few shapes that charts here are made of, as SVG text. Colours follow the page where it sets them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

INK, MUTED, LINE = "var(--ink, #1d2125)", "var(--muted, #6a7178)", "var(--line, #dfe2e6)"


class Axis(NamedTuple):
    """Where values stand between two edges; `marks` are round numbers around all of them."""

    marks: tuple[float, ...]
    start: float
    end: float

    def at(self, value: float) -> float:
        """The coordinate of a value."""
        low, high = self.marks[0], self.marks[-1]
        return self.start + (self.end - self.start) * (value - low) / (high - low)


def ticks(values: Sequence[float], most: int = 6) -> tuple[float, ...]:
    """Round marks from below the lowest to above the highest value.

    >>> ticks([0.0, 83.0])
    (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)
    """
    low, high = min(values), max(values)
    span = max(high - low, abs(high) * 1e-3, 1e-9)
    unit = 10.0 ** math.floor(math.log10(span / most))
    step = next(unit * m for m in (1, 2, 5, 10, 20) if span / (unit * m) <= most - 1)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(step * i, 10) for i in range(first, max(last, first + 1) + 1))


def axes(x: Axis, y: Axis, label: str, *, numbers: bool = True) -> list[str]:
    """Grid lines across, numbers below and, where asked for, at the side."""
    parts = []
    for mark in y.marks:
        at = y.at(mark)
        parts.append(f'<line x1="{x.start}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}" stroke="{LINE}"/>')
        if numbers:
            parts.append(text(x.start - 8, at + 4, f"{mark:g}", "end"))
    parts += [text(x.at(mark), y.start + 18, f"{mark:g}", "middle") for mark in x.marks]
    return [*parts, text((x.start + x.end) / 2, y.start + 38, label, "middle")]


def text(x: float, y: float, words: str, anchor: str, colour: str = MUTED, size: int = 12) -> str:
    """Words at a place; `anchor` is start, middle or end."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f'<text {place} fill="{colour}">{escape(words)}</text>'


def document(width: float, height: float, parts: Sequence[str], label: str) -> str:
    """A drawing of its own; it scales with what holds it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(label)}" font-family="system-ui, sans-serif">' + "\n".join(parts) + "</svg>\n"
    )
