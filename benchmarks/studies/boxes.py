"""Box plots over users: a row per method, a dot per user, the box from quartile to quartile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from regrow_trainer.svg import INK, LINE, MUTED, Axis, document, text, ticks

COLOURS = ("#8591a3", "#0b7a70")  # before, after
_ROW, _LEFT, _WIDTH, _TOP = 30, 240, 400, 26

Row = tuple[str, Mapping[str, Sequence[float]]]  # title; which -> a value per user


def boxes(rows: Sequence[Row], label: str, below: str) -> str:
    """Values are shares and shown in percent; `which` are at most two, drawn one above the other."""
    every = [100 * v for _, series in rows for values in series.values() for v in values]
    x = Axis(ticks(every, 8), _LEFT, _LEFT + _WIDTH)
    bottom = _TOP + _ROW * len(rows)
    parts = [_mark(x, mark, bottom) for mark in x.marks]
    for number, (title, series) in enumerate(rows):
        middle = _TOP + _ROW * (number + 0.5)
        parts.append(text(_LEFT - 10, middle + 4, title, "end", INK))
        for at, values in enumerate(series.values()):
            offset = (at - (len(series) - 1) / 2) * 12
            colour = COLOURS[at] if len(series) > 1 else COLOURS[1]
            if values:
                parts.append(_box([100 * v for v in values], x, middle + offset, colour))
    names = max((list(series) for _, series in rows), key=len)
    shown = [(n, COLOURS[i] if len(names) > 1 else COLOURS[1]) for i, n in enumerate(names)]
    for i, (name, colour) in enumerate(shown):
        parts.append(text(_LEFT + 110 * i, 14, name, "start", colour))
    parts.append(text(_LEFT + _WIDTH / 2, bottom + 36, below, "middle"))
    return document(_LEFT + _WIDTH + 20, bottom + 48, parts, label)


def _mark(x: Axis, mark: float, bottom: float) -> str:
    at = x.at(mark)
    line = f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}" stroke="{LINE}"/>'
    return line + text(at, bottom + 16, f"{mark:g}", "middle", MUTED)


def _box(values: Sequence[float], x: Axis, y: float, colour: str) -> str:
    low, first, median, third, high = (x.at(float(v)) for v in np.quantile(values, (0, 0.25, 0.5, 0.75, 1)))
    drawn = [
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>',
        f'<rect x="{first:.1f}" y="{y - 5:.1f}" width="{third - first:.1f}" height="10" fill="{colour}" '
        f'fill-opacity="0.25" stroke="{colour}"/>',
        f'<line x1="{median:.1f}" x2="{median:.1f}" y1="{y - 5:.1f}" y2="{y + 5:.1f}" stroke="{colour}" '
        'stroke-width="2.5"/>',
        *(f'<circle cx="{x.at(v):.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>' for v in values),
    ]
    return "".join(drawn)
