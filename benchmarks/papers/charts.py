"""A table's pictures: scores against sparsity, and after each step. Ours is full, the published dashed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.papers.record import Record
from benchmarks.papers.table import Chart
from regrow_trainer.svg import INK, Axis, axes, document, text, ticks

_COLOURS = ("#0b7a70", "#b4451f", "#3b5bdb", "#8591a3", "#9c36b5", "#c08a00", "#5c940d")
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 470, 24, 270
_ROW = 15  # between names at the side
_LETTER = 7  # the widest a letter of a name is on average


class Line(NamedTuple):
    """Points, and how far their intervals reach; a published line has none."""

    name: str
    points: Sequence[tuple[float, float]]
    reach: Sequence[float] = ()


def lines(chart: Chart, made: Record) -> tuple[list[Line], list[Line]]:
    """Ours, and what is printed of the same; lines of a single point are none."""
    scale = 100.0 if made["metric"] == "accuracy" else 1.0
    measured, printed = [], []
    for name, places in chart.lines.items():
        cells = [(x, made["cells"][key]) for x, key in places]
        found = [(x, c) for x, c in cells if "mean" in c]
        reach = [scale * (c["high"] - c["low"]) / 2 for _, c in found]
        measured.append(Line(name, [(x, scale * c["mean"]) for x, c in found], reach))
        printed.append(
            Line(name, [(x, scale * c["published"]) for x, c in cells if c["published"] is not None])
        )
    for name, key in chart.curves.items():
        points = made["cells"][key].get("curve", [])
        measured.append(Line(name, [(x, scale * y) for x, y in points]))
    return [m for m in measured if len(m.points) > 1], [p for p in printed if len(p.points) > 1]


def draw(chart: Chart, made: Record) -> str | None:
    """The picture, or None where nothing is measured."""
    measured, printed = lines(chart, made)
    if not measured:
        return None
    points = [p for line in (*measured, *printed) for p in line.points]
    y = Axis(ticks([v for _, v in points]), _BOTTOM, _TOP)
    x = Axis(ticks([a for a, _ in points]), _LEFT, _RIGHT)
    parts = axes(x, y, chart.label)
    parts.append(
        text(_LEFT, 14, "accuracy, %" if made["metric"] == "accuracy" else "mean squared error", "start")
    )
    colours = {line.name: _COLOURS[i % len(_COLOURS)] for i, line in enumerate(measured)}
    told = []
    for line in printed:
        # Lines of one paper row share their published figures: drawn once.
        if line.points not in told:
            told.append(line.points)
            parts.append(_path(line, x, y, INK, ' stroke-dasharray="4 3"'))
    for line in measured:
        colour = colours[line.name]
        parts.append(_path(line, x, y, colour, ' stroke-width="2"'))
        parts += [
            f'<circle cx="{x.at(a):.1f}" cy="{y.at(v):.1f}" r="3" fill="{colour}"/>' for a, v in line.points
        ]
        parts += [
            f'<line x1="{x.at(a):.1f}" x2="{x.at(a):.1f}" y1="{_inside(y, v - r):.1f}" '
            f'y2="{_inside(y, v + r):.1f}" stroke="{colour}"/>'
            for (a, v), r in zip(line.points, line.reach, strict=False)
        ]
    ends = [(y.at(line.points[-1][1]), line.name, colours[line.name]) for line in measured]
    ends += [(y.at(points[-1][1]), "published", INK) for points in told]
    low = -1e9
    for at, name, colour in sorted(ends):
        low = max(low + _ROW, at + 4)
        parts.append(text(_RIGHT + 10, low, name, "start", colour))
    width = _RIGHT + max(330, 20 + _LETTER * max(len(name) for _, name, _ in ends))
    return document(width, max(_BOTTOM + 48, low + 12), parts, f"{made['table']}: {chart.name}")


def _inside(y: Axis, value: float) -> float:
    """Where a value stands, no further out than the frame."""
    return y.at(min(max(value, y.marks[0]), y.marks[-1]))


def _path(line: Line, x: Axis, y: Axis, colour: str, more: str) -> str:
    places = " ".join(f"{x.at(a):.1f},{y.at(v):.1f}" for a, v in line.points)
    return f'<polyline points="{places}" fill="none" stroke="{colour}"{more}/>'
