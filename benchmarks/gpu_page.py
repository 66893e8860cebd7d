"""The GPU beside the device: when does one user's adaptation end sooner where the user is?

python -m benchmarks.gpu_page GPU.json --html gpu.html
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.page_style import STYLE
from benchmarks.suite_table import short
from regrow.files import atomic_write

RESULTS = Path(__file__).resolve().parent / "results"
DEVICE, RECORD = RESULTS / "suite.json", RESULTS / "gpu.json"
# Round trips to a server, in milliseconds: none, a good line, mobile, poor.
TRIPS = (0, 20, 60, 150)
NOT_MEASURED = "not measured"
COLUMNS = ("latency, ms", "users per second", "memory, MB", "joules per user", "error")


def recorded() -> dict[str, Any] | None:
    """The run on a GPU that is kept with the code; None where there was none yet."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else None


def section(made: dict[str, Any] | None) -> str:
    """Tables and plots of one recorded run."""
    if made is None:
        return f"<p>Latency, energy and meta-training on a GPU: {NOT_MEASURED}.</p>"
    device = _device()
    parts = [f"<p class=note>{escape(_said(made))}</p>", *(_case(case, device) for case in made["cases"])]
    return "".join([*parts, f"<h3>Meta-training</h3><p>{escape(_training(made))}</p>"])


def markdown(made: dict[str, Any] | None) -> list[str]:
    """The same as lines, without plots."""
    if made is None:
        return [f"Latency, energy and meta-training on a GPU: {NOT_MEASURED}."]
    lines = [_said(made), ""]
    for case in made["cases"]:
        lines += [f"### {case['workload']}, {case['support']} samples", ""]
        lines += ["| " + " | ".join(("", *COLUMNS)) + " |", "| --- |" + " --: |" * len(COLUMNS)]
        for row in case["variants"]:
            cells = _cells(row) or [_reason(row), *[""] * (len(COLUMNS) - 1)]
            lines.append("| " + " | ".join([row.get("name", ""), *cells]) + " |")
        lines += ["", _sentence(case, _device().get(case["workload"])), ""]
    return [*lines, f"Meta-training: {_training(made)}"]


def _said(made: dict[str, Any]) -> str:
    about = made["machine"]
    gpu = about["gpu"] or "no GPU: a test of the code"
    return f"{gpu}, torch {about['versions']['torch']}, {about['date']}, commit {about['commit'] or 'none'}"


def _training(made: dict[str, Any]) -> str:
    """How many times as fast as each other way, and how much of the machine that takes."""
    held = made.get("training")
    if not held:
        return NOT_MEASURED
    if "refused" in held:
        return f"{NOT_MEASURED}: {held['refused']}"
    found = held["results"]
    said = [f"{short(n)} times as fast as {name}" for name, n in found["times as fast as"].items()]
    share = found.get("of matrix rate")
    rate = f"; {share:.0%} of the GPU's fp32 matrix rate" if share is not None else ""
    return f"second-order MAML, {held['setting']['tasks']} tasks at once: {', '.join(said)}{rate}"


def _device() -> dict[str, float]:
    """Milliseconds of the native engine by workload, from the suite's record; empty where there is none."""
    if not DEVICE.exists():
        return {}
    record = json.loads(DEVICE.read_text(encoding="utf-8"))
    found = {}
    for case in record["cases"]:
        native = case["peers"].get("regrow native", {})
        if case["pruning"] == "dense" and case["adaptable"] == "all" and "adapt_ms" in native:
            found[case["workload"]] = native["adapt_ms"]["median"] + native["predict_1_ms"]["median"]
    return found


def _case(case: dict[str, Any], device: dict[str, float]) -> str:
    lines = "".join(_row(row) for row in case["variants"])
    top = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in ("", *COLUMNS))
    own = device.get(case["workload"])
    return (
        f"<h3>{escape(case['workload'])}, {case['support']} samples</h3><div class=scroll><table>"
        f"<thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"
        f"{latency_plot(case, own)}<p>{escape(_sentence(case, own))}</p>{energy_plot(case)}"
    )


def _row(row: dict[str, Any]) -> str:
    name, cells = escape(row.get("name", "")), _cells(row)
    if not cells:
        return f"<tr><td>{name}</td><td class=reason colspan={len(COLUMNS)}>{escape(_reason(row))}</td></tr>"
    return f"<tr><td>{name}</td>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _reason(row: dict[str, Any]) -> str:
    return row.get("reason") or f"other result: off by {row['error']:.0e}"


def _cells(row: dict[str, Any]) -> list[str]:
    if row["status"] != "measured":
        return []
    memory = "-" if row["memory_bytes"] is None else short(row["memory_bytes"] / 1e6)
    joules = "-" if row["joules_per_user"] is None else short(row["joules_per_user"])
    cells = [short(row["latency_ms"]["median"]), short(row["users_per_second"]), memory, joules]
    return [*cells, f"{row['error']:.0e}"]


def _batched(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [r for r in case["variants"] if r["status"] == "measured" and "at once" in r.get("name", "")]


def _sentence(case: dict[str, Any], own: float | None) -> str:
    """Where the crossover lies, in words."""
    measured = [row["latency_ms"]["median"] for row in case["variants"] if row["status"] == "measured"]
    if own is None or not measured:
        return f"On the device: {NOT_MEASURED}."
    least = min(measured)
    if own <= least:
        return (
            f"On the device: {short(own)} ms, sooner than the GPU at any distance ({short(least)} ms there)."
        )
    return (
        f"On the device: {short(own)} ms. The GPU answers sooner only where the round trip is below "
        f"{short(own - least)} ms."
    )


def latency_plot(case: dict[str, Any], own: float | None) -> str:
    """Latency against users at once, by round trip; where the device's own time crosses it."""
    points = [(row["users"], row["latency_ms"]["median"]) for row in _batched(case)]
    if not points:
        return ""
    highest = max(max(ms for _, ms in points) + TRIPS[-1], own or 0.0)
    lines = []
    for trip in TRIPS:
        path = " ".join(f"{_x(users)},{_y(ms + trip, highest)}" for users, ms in points)
        end = _y(points[-1][1] + trip, highest) + 4
        lines.append(f"<polyline points='{path}' fill=none stroke='var(--bar)' opacity='{1 - trip / 250}'/>")
        lines.append(f"<text x={_x(points[-1][0]) + 6} y={end}>GPU, {trip} ms away</text>")
    if own is not None:
        y = _y(own, highest)
        lines.append(f"<line x1=60 x2=480 y1={y} y2={y} stroke='var(--ours)' stroke-width=2 />")
        # Above its line and on the left, where the GPU's labels never are.
        lines.append(f"<text x=66 y={max(y - 5, 12)} style='fill: var(--ours)'>regrow, on the device</text>")
    return _drawn("latency of one adaptation, ms", [users for users, _ in points], highest, lines)


def energy_plot(case: dict[str, Any]) -> str:
    """Joules per user against users at once; nothing where the board's counter was not read."""
    rows = [(r["users"], r["joules_per_user"]) for r in _batched(case) if r["joules_per_user"] is not None]
    if not rows:
        return f"<p class=note>Energy on the GPU: {NOT_MEASURED}.</p>"
    highest = max(joules for _, joules in rows)
    path = " ".join(f"{_x(users)},{_y(joules, highest)}" for users, joules in rows)
    line = f"<polyline points='{path}' fill=none stroke='var(--bar)'/>"
    return _drawn("energy of the GPU per user, joules", [users for users, _ in rows], highest, [line])


def _drawn(label: str, users: Sequence[int], highest: float, lines: Sequence[str]) -> str:
    """A plot with its axes named and numbered."""
    axes = "<path class=axis fill=none d='M60 20V220H480'/>"
    axes += "".join(f"<text x={_x(n)} y=238 text-anchor=middle>{n}</text>" for n in users)
    axes += f"<text x=270 y=256 text-anchor=middle>users at once</text><text x=60 y=12>{escape(label)}</text>"
    for part in (0.0, 0.5, 1.0):
        at = _y(part * highest, highest) + 4
        axes += f"<text x=54 y={at} text-anchor=end>{short(part * highest) if part else 0}</text>"
    size = "width=720 height=262 viewBox='0 0 720 262'"
    return f"<svg role=img aria-label='{escape(label)}' {size}>{axes}{''.join(lines)}</svg>"


def _x(users: int) -> float:
    return 60 + 70 * (users.bit_length() - 1)


def _y(value: float, highest: float) -> float:
    return round(220 - 200 * value / highest, 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_page", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("--html", metavar="FILE", required=True)
    args = parser.parse_args(argv)
    body = section(json.loads(args.result.read_text(encoding="utf-8")))
    head = f"<meta charset=utf-8><title>Adaptation on a GPU</title><style>{STYLE}</style>"
    atomic_write(
        args.html, f"<!doctype html><html lang=en>{head}<h1>Adaptation on a GPU</h1>{body}\n".encode()
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
