"""A suite's result as one self-contained page, or as Markdown.

python -m benchmarks.suite_page RESULT.json --html report.html
python -m benchmarks.suite_page RESULT.json --markdown docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.suite_table import COLUMNS, Row, rows, short, summary
from regrow.files import atomic_write

GPU = Path(__file__).resolve().parent / "results" / "gpu.json"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #2a6f97; --ours: #c8553d; } body { font: 15px/1.45
system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; } h1 { font-size: 1.5rem; } h2 {
font-size: 1.1rem; margin-top: 2.5rem; } table { border-collapse: collapse; font-variant-numeric:
tabular-nums; font-size: 13px; } th, td { border-bottom: 1px solid var(--line); padding: .25rem .5rem;
text-align: right; vertical-align: top; } th:first-child, td:first-child, td.reason { text-align: left; }
td.reason { color: #8a8a8a; } tr.ours td:first-child { font-weight: 600; color: var(--ours); } .scroll {
overflow-x: auto; } small, .note { color: #8a8a8a; } svg text { fill: currentColor; font-size: 12px; } code {
font-size: 13px; overflow-wrap: anywhere; }
"""
_EXPLAINED = """
Every peer runs the same network on the same episode from the same weights; norms use the statistics of the
batch everywhere. A peer is timed only where its outputs after all steps agree with torch in fp64 ("error":
the largest difference, relative to the largest output). Times are processor time, so that what else runs on
the machine counts little; "start to answer" is the wall's. Brackets are 95 % intervals of the median of
pairwise ratios from the same rounds. "Of peak": the arithmetic of dense backpropagation per second, as a
share of what the processor multiplies and adds in registers; sparse kernels do less arithmetic, so theirs may
exceed what is possible for dense ones. """.strip()


def page(made: dict[str, Any]) -> str:
    """The whole document; no script, nothing fetched."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Adaptation on a device, side by side</title><style>{_STYLE}</style>",
        "<h1>Adaptation on a device, side by side</h1>",
        f"<p>{escape(_EXPLAINED)}</p>",
        "<h2>At a glance: times as long as regrow's C core</h2>",
        _grid(*summary(made)),
        *(_case(case, made["ceilings"]["fma_gflops"]) for case in made["cases"]),
        _gpu(),
        "<h2>The run</h2>",
        _list(facts(made)),
    ]
    return "\n".join(parts) + "\n"


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in line) + "</tr>" for line in lines)
    return f"<div class=scroll><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _case(case: dict[str, Any], fma: float | None) -> str:
    found = list(rows(case, fma))
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in ("", *COLUMNS))
    title = f"{case['title']}, {case['pruning']}, adapting {case['adaptable']}"
    noise = f"95th percentile {case['noise']:.0%} above the median"
    return (
        f"<h2>{escape(title)}</h2><p class=note>{case['parameters']:,} parameters, {case['steps']} steps; "
        f"{noise}.</p>{_bars(found)}<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>"
        + "".join(_row(row) for row in found)
        + "</tbody></table></div>"
    )


def _row(row: Row) -> str:
    ours = " class=ours" if row.peer.startswith("regrow") else ""
    name = f"<td title='{escape(row.note, quote=True)}'>{escape(row.peer)}</td>"
    if row.reason:
        return f"<tr{ours}>{name}<td class=reason colspan={len(COLUMNS)}>{escape(row.reason)}</td></tr>"
    return f"<tr{ours}>{name}" + "".join(f"<td>{escape(cell)}</td>" for cell in row.figures) + "</tr>"


def _bars(found: Sequence[Row]) -> str:
    """One adaptation each, shortest first; a bar that would not fit is cut and says so."""
    drawn = sorted((r for r in found if r.milliseconds), key=lambda r: r.milliseconds or 0.0)
    if not drawn:
        return ""
    times = [row.milliseconds or 0.0 for row in drawn]
    top = min(times[-1], 4 * sorted(times)[len(times) // 2])
    lines = []
    for i, (row, time) in enumerate(zip(drawn, times, strict=True)):
        width, y = 420 * min(time, top) / top, 20 * i
        colour = "--ours" if row.peer.startswith("regrow") else "--bar"
        cut = " (cut)" if time > top else ""
        lines.append(
            f"<text x=170 y={y + 14} text-anchor=end>{escape(row.peer)}</text>"
            f"<rect x=178 y={y + 3} width={max(width, 1):.1f} height=14 fill='var({colour})'/>"
            f"<text x={184 + width:.1f} y={y + 14}>{short(time)} ms{cut}</text>"
        )
    label = "milliseconds of one adaptation by peer"
    height = 20 * len(drawn) + 6
    return f"<svg role=img aria-label='{label}' width=720 height={height}>{''.join(lines)}</svg>"


def _gpu() -> str:
    head = "<h2>On a GPU</h2>"
    if not GPU.exists():
        return f"{head}<p>Not measured: no run with <code>--device cuda</code> has been recorded.</p>"
    from benchmarks.gpu_page import section

    return head + section(json.loads(GPU.read_text(encoding="utf-8")))


def facts(made: dict[str, Any]) -> list[str]:
    """What it takes to run this again, and what it ran on."""
    on, top = made["machine"], made["ceilings"]
    versions = ", ".join(f"{k} {v}" for k, v in on["versions"].items())
    said = [
        f"Command: {made['command']} (after python -m benchmarks.setup_peers)",
        f"Commit {on['commit'] or 'none'}, {on['date']}",
        f"{on['cpu']}, {on['cores']} cores, {on['system']}, load {on['load']} -> "
        f"{on.get('load_after', '-')}; Python {on['python']}, {versions}",
        f"{made['threads']} thread of each peer, {made['rounds']} rounds; 75 queries are predicted at once",
        f"Ceilings of one thread: {top['fma_gflops'] or '-'} GFLOP/s in registers, {top['gemm_gflops']} in a "
        f"matrix product, {top['read_gbs']} GB/s read",
        "Energy: not measured here (no counter is readable)",
    ]
    main = ("torch", "jax", "MNN", "ai-edge-litert", "onnxruntime-training", "onnxruntime", "onnxsim")
    for name, held in made["environments"].items():
        told = ", ".join(f"{k} {v}" for k, v in held.items() if k in (*main, "executorch", "higher", "numpy"))
        said.append(f"Environment {name}: {told}")
    return said


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def markdown(made: dict[str, Any]) -> str:
    """The same for people who read it in a repository."""
    lines = [
        "# Adaptation on a device, side by side",
        "",
        "Generated by `python -m benchmarks.suite_page`; no figure is typed by hand.",
        "",
        _EXPLAINED,
        "",
        "## Times as long as regrow's C core",
        "",
        *_markdown(*summary(made)),
        "",
    ]
    for case in made["cases"]:
        lines += [f"## {case['title']}, {case['pruning']}, adapting {case['adaptable']}", ""]
        found = list(rows(case, made["ceilings"]["fma_gflops"]))
        table = [[row.peer, *(row.figures or [row.reason, *[""] * (len(COLUMNS) - 1)])] for row in found]
        lines += [*_markdown(["", *COLUMNS], table), ""]
    return "\n".join([*lines, "## The run", "", *(f"- {fact}" for fact in facts(made))]) + "\n"


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["--:"] * (len(head) - 1)]
    return ["| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in (head, rule, *lines)]


def main(argv: Sequence[str] | None = None) -> int:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suite_page", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("--html", metavar="FILE")
    parser.add_argument("--markdown", metavar="FILE")
    args = parser.parse_args(argv)
    made = json.loads(args.result.read_text(encoding="utf-8"))
    if args.html:
        atomic_write(args.html, page(made).encode())
    if args.markdown:
        atomic_write(args.markdown, markdown(made).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
