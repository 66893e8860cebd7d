"""A sweep as a picture and as a page: plain SVG and HTML, nothing fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from regrow.cli.command import human_bytes
from regrow_trainer.svg import Axis, axes, document, text, ticks

_PANEL, _GAP, _TOP, _HEIGHT, _LEFT = 250, 34, 34, 190, 52
_STYLE = """:root { --ink: #1d2125; --muted: #6a7178; --line: #dfe2e6; --mark: #0b7a70; --paper: #fdfdfc;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --muted: #99a1a9; --line: #33383d;
  --mark: #35b8a6; --paper: #16191c; } }
body { margin: 0 auto; max-width: 60rem; padding: 3rem 1.25rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 0.35rem 0.7rem; border-bottom: 1px solid var(--line); }
svg { width: 100%; height: auto; } .front { color: var(--mark); font-weight: 600; } p { color: var(--muted); }
"""


def draw(sweep: Mapping[str, Any]) -> str:
    """Accuracy against each of sparsity, bytes and milliseconds; filled points are on the Pareto front."""
    points = sweep["points"]
    panels: list[tuple[str, Callable[[Any], float]]] = [
        ("pruned, %", lambda p: 100 * p["sparsity"]),
        ("bundle, kB", lambda p: p["bytes"] / 1e3),
        ("adaptation, ms", lambda p: p["adapt_ms"]),
    ]
    accuracy = sweep["metric"] == "accuracy"
    scale = 100.0 if accuracy else 1.0
    values = [(scale * p["accuracy"], scale * p["half_width"]) for p in points]
    y = Axis(ticks([v - h for v, h in values] + [v + h for v, h in values]), _TOP + _HEIGHT, _TOP)
    parts = [text(_LEFT, 16, "accuracy, %" if accuracy else "minus the error", "start")]
    for number, (label, of) in enumerate(panels):
        left = _LEFT + number * (_PANEL + _GAP)
        x = Axis(ticks([0.0, *map(of, points)]), left, left + _PANEL)
        parts += axes(x, y, label, numbers=number == 0)
        for p, (value, half) in zip(points, values, strict=True):
            at, mark = x.at(of(p)), "var(--mark, #0b7a70)"
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y.at(value - half):.1f}" '
                f'y2="{y.at(value + half):.1f}" stroke="{mark}"/>'
                f'<circle cx="{at:.1f}" cy="{y.at(value):.1f}" r="4.5" stroke="{mark}" '
                f'stroke-width="1.6" fill="{mark if p["pareto"] else "var(--paper, #fff)"}">'
                f"<title>{p['sparsity']:.0%}: {value:.2f}, {human_bytes(p['bytes'])}, {p['adapt_ms']:.2f} ms"
                "</title></circle>"
            )
    width = _LEFT + len(panels) * (_PANEL + _GAP)
    return document(width, _TOP + _HEIGHT + 48, parts, "accuracy against sparsity, bytes and latency")


def page(sweep: Mapping[str, Any]) -> str:
    """One file with the picture, the figures and what they were measured on."""
    machine = sweep["machine"]
    head = ["pruned", sweep["metric"], "95 %", "against dense", "bundle", "adaptation"]
    rows = "".join(_row(p, sweep["metric"]) for p in sweep["points"])
    cells = "".join(f"<th>{escape(h)}</th>" for h in head)
    what = "channels" if sweep["channels"] else "weights"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>regrow: what pruning costs</title>\n<style>\n{_STYLE}</style></head>\n<body>"
        f"<h1>What pruning {what} by {escape(sweep['method'])} costs</h1>\n"
        "<p>Every point was pruned, trained, exported and measured alike; 0 % is the dense network. Filled "
        "points are on the Pareto front: no other is at least as accurate, small and quick. Bars are 95 % "
        f"intervals.</p>\n{draw(sweep)}\n<table><tr>{cells}</tr>{rows}</table>\n"
        f"<p>{escape(str(machine['cpu']))}, {machine['cores']} cores; {escape(str(machine['date']))}</p>\n"
        "</body></html>\n"
    )


def _row(p: Mapping[str, Any], metric: str) -> str:
    scale, unit = (100.0, " %") if metric == "accuracy" else (-1.0, "")
    drop = p["drop"]
    gap = "-" if drop is None else f"{abs(scale) * drop['mean']:+.2f}"
    gap += "" if drop is None or drop["real"] else " (may be chance)"
    cells: Sequence[str] = (
        f"{p['sparsity']:.0%}",
        f"{scale * p['accuracy']:.2f}{unit}",
        f"± {abs(scale) * p['half_width']:.2f}",
        gap,
        human_bytes(p["bytes"]),
        f"{p['adapt_ms']:.2f} ms",
    )  # fmt: skip
    mark = ' class="front"' if p["pareto"] else ""
    return f"<tr{mark}>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>"
