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

from benchmarks.suite_table import short
from regrow.files import atomic_write

DEVICE = Path(__file__).resolve().parent / "results" / "suite.json"
# Round trips to a server, in milliseconds: none, a good line, mobile, poor.
TRIPS = (0, 20, 60, 150)


def section(made: dict[str, Any]) -> str:
    """Tables and plots of one recorded run."""
    about = made["machine"]
    said = (
        f"{about['gpu'] or 'no GPU: a test of the code'}, {about['date']}, commit {about['commit'] or 'none'}"
    )
    device = _device()
    return f"<p class=note>{escape(said)}</p>" + "".join(_case(case, device) for case in made["cases"])


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
    head = ("", "latency, ms", "users per second", "memory, MB", "joules per user", "error")
    lines = "".join(_row(row) for row in case["variants"])
    top = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    own = device.get(case["workload"])
    return (
        f"<h3>{escape(case['workload'])}, {case['support']} samples</h3><div class=scroll><table>"
        f"<thead><tr>{top}"
        f"</tr></thead><tbody>{lines}</tbody></table></div>{crossover(case, own)}"
    )


def _row(row: dict[str, Any]) -> str:
    if row["status"] != "measured":
        reason = row.get("reason") or f"off by {row['error']:.0e}"
        name = row.get("name", "")
        return f"<tr><td>{escape(name)}</td><td class=reason colspan=5>{escape(reason)}</td></tr>"
    memory = "-" if row["memory_bytes"] is None else short(row["memory_bytes"] / 1e6)
    joules = "-" if row["joules_per_user"] is None else short(row["joules_per_user"])
    cells = (short(row["latency_ms"]["median"]), short(row["users_per_second"]), memory, joules)
    body = "".join(f"<td>{escape(cell)}</td>" for cell in (*cells, f"{row['error']:.0e}"))
    return f"<tr><td>{escape(row['name'])}</td>{body}</tr>"


def crossover(case: dict[str, Any], own: float | None) -> str:
    """Latency against users at once, by round trip; where the device's own time crosses it."""
    batched = [r for r in case["variants"] if r["status"] == "measured" and "users" in r.get("name", "")]
    if not batched:
        return ""
    points = [(row["users"], row["latency_ms"]["median"]) for row in batched]
    highest = max(max(ms for _, ms in points) + TRIPS[-1], own or 0.0)
    lines = []
    for trip in TRIPS:
        path = " ".join(f"{_x(users)},{_y(ms + trip, highest)}" for users, ms in points)
        end = _y(points[-1][1] + trip, highest)
        lines.append(f"<polyline points='{path}' fill=none stroke='var(--bar)' opacity={1 - trip / 250}/>")
        lines.append(f"<text x={_x(points[-1][0]) + 6} y={end}>GPU, {trip} ms away</text>")
    said = "The device's own time is not recorded."
    if own is not None:
        y = _y(own, highest)
        lines.append(f"<line x1=40 x2=460 y1={y} y2={y} stroke='var(--ours)' stroke-width=2 />")
        lines.append(f"<text x=466 y={y}>regrow, on the device</text>")
        least = min(ms for _, ms in points)
        said = (
            f"On the device: {short(own)} ms. The GPU answers sooner only where the round trip is below "
            f"{short(own - least)} ms."
            if own > least
            else f"On the device: {short(own)} ms, sooner than the GPU at any distance."
        )
    label = "latency of one adaptation against users at once"
    axis = "".join(f"<text x={_x(users)} y=236 text-anchor=middle>{users}</text>" for users, _ in points)
    drawn = f"<svg role=img aria-label='{label}' width=720 height=244>{axis}{''.join(lines)}</svg>"
    return f"{drawn}<p>{escape(said)}</p>"


def _x(users: int) -> float:
    return 40 + 70 * (users.bit_length() - 1)


def _y(milliseconds: float, highest: float) -> float:
    return round(220 - 200 * milliseconds / highest, 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    from benchmarks.suite_page import _STYLE

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_page", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("--html", metavar="FILE", required=True)
    args = parser.parse_args(argv)
    body = section(json.loads(args.result.read_text(encoding="utf-8")))
    head = f"<meta charset=utf-8><title>Adaptation on a GPU</title><style>{_STYLE}</style>"
    atomic_write(
        args.html, f"<!doctype html><html lang=en>{head}<h1>Adaptation on a GPU</h1>{body}\n".encode()
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
