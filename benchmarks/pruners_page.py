"""docs/pruning.md and its pictures from the recorded benchmark. No figure in them is typed by hand."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regrow.cli.command import human_bytes
from regrow.episodes import png
from regrow.files import atomic_write
from regrow_trainer.svg import INK, LINE, MUTED, Axis, axes, document, text, ticks

PAGE, CURVES, MAPS = "pruning.md", "pruning-accuracy.svg", "pruning-layers.svg"
LONG, WIDE = "pruners_long.json", "pruners_wide.json"
_BEGIN, _END = "<!-- measured -->", "<!-- end of what was measured -->"
_COLOURS = ("#0b7a70", "#b4451f", "#3b5bdb", "#8591a3", "#9c36b5", "#c08a00")
_CELL = 3
_GOAL = 0.01  # what ANP may lose at 85 %

Rows = Mapping[str, Mapping[str, Any]]


def write_page(record: Mapping[str, Any], docs: Path, others: Path) -> None:
    """Replace what was measured in the page, and draw the pictures beside it.

    A record of longer training and one of a wide network are taken from `others` where they are there.
    """
    page = (docs / PAGE).read_text(encoding="utf-8")
    before, rest = page.split(_BEGIN)
    after = rest.split(_END)[1]
    told = measured(record)
    for name, section in ((LONG, longer), (WIDE, widest)):
        if (others / name).exists():
            told += section(json.loads((others / name).read_text(encoding="utf-8")))
    atomic_write(docs / PAGE, f"{before}{_BEGIN}\n{told}{_END}{after}".encode())
    atomic_write(docs / CURVES, curves(record["rows"]).encode())
    atomic_write(docs / MAPS, maps(record["rows"]).encode())


def measured(record: Mapping[str, Any]) -> str:
    """The part of the page that the record makes."""
    rows, settings, machine = record["rows"], record["settings"], record["machine"]
    at = sorted({r["sparsity"] for r in rows.values()} - {0.0})
    words = (
        f"\n`{settings['data']}`, 5-way 1-shot, {settings['episodes']} paired episodes of unseen classes, 15 "
        f"queries per class; {settings['base']} meta-iterations before pruning, {settings['retrain']} after "
        f"it for every row, the dense one included ({_percent(rows['dense'])} %). {machine['cpu']}, "
        f"{machine['cores']} cores, load {machine['load']}, commit {machine['commit']}, "
        f"{machine['date'][:10]}.\n\n![accuracy against sparsity]({CURVES})\n\n"
    )
    parts = [
        words,
        "Accuracy, %, with the half width of its 95 % interval:\n\n",
        _table(rows, at, lambda r: f"{_percent(r)} ± {100 * r['half_width']:.1f}"),
        "\nPoints of accuracy against the dense network, episode by episode (95 %, paired bootstrap):\n\n",
        _table(rows, at, lambda r: _gap(r, "dense")),
        "\nThe same against magnitude and against L-OBS on many tasks, both with the same retraining:\n\n",
        _rivals(rows),
        f"\n{_verdict(rows)}\n",
        _scopes(rows),
        "\nWhat pruning itself took, without retraining, and what it left dead:\n\n",
        _costs(rows),
        "\nKernels left at 85 %, layer by layer (dark: all nine weights; rows are outputs):\n\n",
        f"![kernels]({MAPS})\n\n",
    ]
    return "".join(parts)


def longer(record: Mapping[str, Any]) -> str:
    """What more retraining makes of some of the rows."""
    rows, settings = record["rows"], record["settings"]
    at = sorted({r["sparsity"] for r in rows.values()} - {0.0})
    return (
        f"### Longer\n\n{settings['base']} meta-iterations before, {settings['retrain']} after pruning began "
        f"for every row, {settings['episodes']} episodes; dense {_percent(rows['dense'])} %. Accuracy, %:\n\n"
        + _table(rows, at, lambda r: f"{_percent(r)} ± {100 * r['half_width']:.1f}")
        + "\nPoints against the dense network:\n\n"
        + _table(rows, at, lambda r: _gap(r, "dense"))
        + "\nAgainst magnitude and L-OBS on many tasks, with the same retraining:\n\n"
        + _rivals(rows)
        + f"\n{_verdict(rows)}\n\n"
        + _costs(rows)
        + "\n"
    )


def widest(record: Mapping[str, Any]) -> str:
    """What pruning takes where layers are wide, from training to a verified bundle."""
    settings, machine, rounds = record["settings"], record["machine"], record["rounds"]
    gone = 1 - sum(r["kept"] for r in record["layers"]) / record["weights"]
    whole = 8 * (record["widest"] + 1) ** 2
    lines = [
        [f"{r['sparsity']:.0%}", f"{r['seconds']:.0f} s", human_bytes(r["held_bytes"]),
         human_bytes(r["grown_bytes"])]
        for r in rounds
    ]  # fmt: skip
    dense, pruned = (
        f"{_percent(record[name])} ± {100 * record[name]['half_width']:.1f} %" for name in ("dense", "pruned")
    )
    return (
        f"### A wide network\n\nA ResNet-12 of published widths, {record['weights']:,} weights that may "
        f"go, up to {record['widest']:,} inputs to an output (`python -m benchmarks.pruners_wide`): ANP over "
        f"{settings['tasks']} tasks with `prune.args.block={settings['block']}`. Whole, the curvature of the "
        f"widest layer alone would be {human_bytes(whole)}. {settings['base']} meta-iterations of two tasks "
        f"before, {settings['retrain']} after, {settings['episodes']} episodes: dense {dense}, without "
        f"{gone:.1%} of them {pruned}: nothing broke, and neither was trained for long. The verified bundle "
        f"has {human_bytes(record['bundle_bytes'])}; its export took {record['export_seconds']:.0f} s of "
        f"processor time. {machine['cpu']}, load {machine['load']}, commit {machine['commit']}.\n\n"
        + _markdown(["removed", "wall", "state held", "memory grown"], lines)
        + "\n"
    )


def curves(rows: Rows) -> str:
    """Accuracy against sparsity, a line for each method that has several points."""
    lines = {n: p for n, p in _by_method(rows).items() if len(p) > 2}
    values = [100 * v for points in lines.values() for _, v in points] + [100 * rows["dense"]["mean"]]
    y = Axis(ticks(values), 250, 20)
    x = Axis(ticks([0.2, 1.0]), 50, 470)
    parts = axes(x._replace(marks=tuple(100 * m for m in x.marks)), y, "weights removed, %")
    dense = y.at(100 * rows["dense"]["mean"])
    parts.append(
        f'<line x1="50" x2="470" y1="{dense:.1f}" y2="{dense:.1f}" stroke="{INK}" stroke-dasharray="4 3"/>'
    )
    parts.append(text(478, dense + 4, "dense", "start", INK))
    # Names stand beside the last point, apart from each other.
    low = -1e9
    ends = sorted(lines.items(), key=lambda item: y.at(100 * item[1][-1][1]))
    for number, (name, points) in enumerate(ends):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(x.at(s), y.at(100 * v)) for s, v in points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in places]
        low = max(low + 15, places[-1][1] + 4)
        parts.append(text(478, low, name, "start", colour))
    return document(640, max(300, low + 12), parts, "accuracy against sparsity")


def maps(rows: Rows) -> str:
    """A row per method, a panel per layer: how much of every kernel is left."""
    shown = {key.partition("@")[0]: r["maps"] for key, r in rows.items() if "maps" in r}
    parts, top = [], 24.0
    width = 0.0
    for name, layers in shown.items():
        parts.append(text(0, top + 12, name, "start", INK))
        left = 140.0
        tallest = 0
        for layer, lines in layers.items():
            wide, tall = len(lines[0]) * _CELL, len(lines) * _CELL
            left_over = np.array([[int(digit) for digit in line] for line in lines])
            image = base64.b64encode(png.encode((255 - 28 * left_over).astype(np.uint8))).decode()
            box = f'x="{left:.0f}" y="{top:.0f}" width="{wide}" height="{tall}"'
            parts.append(
                f'<image {box} preserveAspectRatio="none" style="image-rendering: pixelated" '
                f'href="data:image/png;base64,{image}"/><rect {box} fill="none" stroke="{LINE}"/>'
            )
            if name == next(iter(shown)):
                parts.append(text(left, 14, layer.removesuffix(".weight"), "start", MUTED, 10))
            left += max(wide, 86) + 16
            tallest = max(tallest, tall)
        width, top = max(width, left), top + tallest + 14
    return document(width, top, parts, "what each pruner left of each layer")


def _by_method(rows: Rows) -> dict[str, list[tuple[float, float]]]:
    made: dict[str, list[tuple[float, float]]] = {}
    for key, row in rows.items():
        if key != "dense":
            made.setdefault(key.partition("@")[0], []).append((row["sparsity"], row["mean"]))
    return {name: sorted(points) for name, points in made.items()}


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['mean']:.1f}"


def _gap(row: Mapping[str, Any], rival: str) -> str:
    gap = row["against"].get(rival)
    if gap is None:
        return ""
    shown = f"{100 * gap['mean']:+.1f} [{100 * gap['low']:+.1f}, {100 * gap['high']:+.1f}]"
    return shown if gap["real"] else f"({shown})"


def _table(rows: Rows, at: Sequence[float], cell: Any) -> str:
    lines = []
    for name in _by_method(rows):
        cells = [rows.get(f"{name}@{s:g}") for s in at]
        lines.append([name, *("" if row is None else cell(row) for row in cells)])
    return _markdown(["", *(f"{s:.0%}" for s in at)], lines)


def _rivals(rows: Rows) -> str:
    lines = [
        [key.partition("@")[0], f"{r['sparsity']:.0%}", _gap(r, "magnitude"), _gap(r, "L-OBS")]
        for key, r in rows.items()
        if r["against"].keys() & {"magnitude", "L-OBS"} and not key.startswith(("magnitude@", "random"))
    ]
    note = "\nIn brackets: may be chance.\n"
    return _markdown(["", "removed", "against magnitude", "against L-OBS"], lines) + note


def _scopes(rows: Rows) -> str:
    """What a device may move, for the rows that were measured under every rule."""
    parts = []
    for key, r in rows.items():
        if "scopes" in r:
            name = key.replace("@", " at ")
            parts.append(
                f"\n{name}: accuracy, %, by what the device moves, after one and after five steps:\n\n"
            )
            lines = [
                [rule, *(f"{100 * v:.1f}" for v in means.values())] for rule, means in r["scopes"].items()
            ]
            parts.append(_markdown(["", "1 step", "5 steps"], lines))
    return "".join(parts)


def _verdict(rows: Rows) -> str:
    """Whether the promise is kept here, in words that follow the figures."""
    anp = rows.get("ANP@0.85")
    if anp is None:
        return "ANP at 85 % was not part of this run."
    gaps = anp["against"]
    lost = -gaps["dense"]["mean"]
    kept = "within one point of" if lost <= _GOAL else f"{100 * lost:.1f} points below"
    said = [f"ANP at 85 % is {kept} the dense network."]
    for rival, what in (("magnitude", "magnitude"), ("L-OBS", "L-OBS on many tasks")):
        if rival in gaps:
            gap = gaps[rival]
            better = "is better than" if gap["mean"] > 0 else "is worse than"
            said.append(
                f"It {better} {what} under the same retraining." if gap["real"]
                else f"**{what} under the same retraining catches up with it**: the difference may be chance."
            )  # fmt: skip
    best = max((r["mean"], key) for key, r in rows.items() if key.endswith("@0.85"))[1]
    return " ".join([*said, f"The most accurate at 85 % is {best.partition('@')[0]}."])


def _costs(rows: Rows) -> str:
    lines = []
    for key, r in rows.items():
        if "rounds" not in r:
            continue
        dead, every = (sum(layer[which] for layer in r["layers"]) for which in ("dead_outputs", "outputs"))
        lines.append(
            [key.replace("@", " at "), f"{r['rounds']}", f"{r['seconds']:.1f} s",
             human_bytes(r["held_bytes"]), human_bytes(r["grown_bytes"]), f"{dead} of {every}",
             ", ".join(f"{1 - layer['kept'] / layer['weights']:.0%}" for layer in r["layers"])]
        )  # fmt: skip
    head = ["", "rounds", "wall", "state held", "memory grown", "dead outputs", "removed, layer by layer"]
    return _markdown(head, lines)


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
