"""A suite's result as one self-contained page, or as Markdown.

python -m benchmarks.suite_page RESULT.json --html report.html
python -m benchmarks.suite_page RESULT.json --markdown docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Any

from benchmarks import gpu_page, origin
from benchmarks.page_style import STYLE
from benchmarks.suite_table import COLUMNS, Row, noisy, rows, short, summary, title
from regrow.files import atomic_write

NOT_MEASURED = "Not measured: no run with --threads all has been recorded."
_EXPLAINED = """
Every peer runs the same network on the same episode from the same weights; norms use the statistics of the
batch everywhere. A peer is timed only where its outputs after all steps agree with torch in fp64 ("error":
the largest difference, relative to what the steps changed at most). "Adaptation" is the first after others
had the processor, as on a device that does other things meanwhile; "again at once" finds its caches warm.
"Start to answer" is the wall's, from the start of the process to the first adapted prediction. Brackets are
95 % intervals of the median of pairwise ratios from the same rounds, the whole range below six rounds. "Of
roofline": the time that the machine's peak of multiply-adds and its memory allow for what the adaptation
cannot do without (weights that stay zero need nothing, frozen layers are run once), as a share of the time
it took; for what only predicts, the same of 75 queries. """.strip()
_CLOCKS = {
    1: "Times are processor time, one thread of each, so that what else runs on the machine counts little.",
    0: "Times are the wall's, every peer with all cores; regrow's own core uses one.",
}


def page(made: dict[str, Any], threads: dict[str, Any] | None = None) -> str:
    """The whole document; no script, nothing fetched."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Adaptation on a device, side by side</title><style>{STYLE}</style>",
        "<h1>Adaptation on a device, side by side</h1>",
        f"<p>{escape(_EXPLAINED)} {_CLOCKS[made['threads'] == 1]}</p>",
        "<h2>At a glance: times as long as regrow's C core</h2>",
        _grid(*summary(made)),
        *_threads(threads),
        *(_case(case, made) for case in made["cases"]),
        f"<h2>On a GPU</h2>{gpu_page.section(gpu_page.recorded())}",
        "<h2>The run</h2>",
        _list(facts(made)),
    ]
    return "\n".join(parts) + "\n"


def _threads(made: dict[str, Any] | None) -> list[str]:
    head = "<h2>On all cores</h2>"
    if made is None:
        return [f"{head}<p>{NOT_MEASURED}</p>"]
    return [f"{head}<p>{_CLOCKS[0]}</p>", _grid(*summary(made)), _list(facts(made))]


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in line) + "</tr>" for line in lines)
    return f"<div class=scroll><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _case(case: dict[str, Any], made: dict[str, Any]) -> str:
    found = list(rows(case, made))
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in ("", *COLUMNS))
    warned = f"<p class=noisy>{noisy(case)}</p>" if noisy(case) else ""
    noise = f"95th percentile {case['noise']:.0%} above the median"
    return (
        f"<h2>{escape(title(case))}</h2><p class=note>{case['parameters']:,} parameters, "
        f"{case['steps']} steps; {noise}.</p>{warned}{_bars(found)}"
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>"
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
    size = f"width=720 height={height} viewBox='0 0 720 {height}'"
    return f"<svg role=img aria-label='{label}' {size}>{''.join(lines)}</svg>"


def facts(made: dict[str, Any]) -> list[str]:
    """What it takes to run this again, and what it ran on."""
    on, top = made["machine"], made["ceilings"]
    versions = ", ".join(f"{k} {v}" for k, v in on["versions"].items())
    said = [
        f"Command: {made['command']} (after python -m benchmarks.setup_peers)",
        f"{origin.told(made)}, {on['date']}",
        f"{on['cpu']}, {on['cores']} cores, {on['system']}, load {on['load']} -> "
        f"{on.get('load_after', '-')}; Python {on['python']}, {versions}",
        f"{_count(made['threads'], 'thread')} of each peer, {_count(made['rounds'], 'round')}, fewer of what "
        "takes seconds; 75 queries are predicted at once",
        f"Ceilings of {_count(made['threads'], 'thread')}: {top['fma_gflops'] or '-'} GFLOP/s in registers, "
        f"{top['gemm_gflops']} in a matrix product, {top['read_gbs']} GB/s read",
        *_absent(made),
    ]
    if made["format"] < 2:
        said.append(
            "Of an older suite: errors are relative to the largest output, the allocator was as it comes, "
            "and the order of turns alternated"
        )
    main = ("torch", "jax", "MNN", "ai-edge-litert", "onnxruntime-training", "onnxruntime", "onnxsim")
    for name, held in made["environments"].items():
        told = ", ".join(f"{k} {v}" for k, v in held.items() if k in (*main, "executorch", "higher", "numpy"))
        said.append(f"Environment {name}: {told}")
    return said


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _absent(made: dict[str, Any]) -> Iterator[str]:
    """Counters that nobody could read here."""
    held = {key for case in made["cases"] for fact in case["peers"].values() for key in fact}
    if "joules" not in held:
        yield "Energy: not measured, no counter is readable here"
    if "adapt_instructions" not in held:
        yield (
            "Instructions: not measured, the processor's counter is closed here; the C core's are counted "
            "under valgrind (benchmarks/results/instructions.json)"
        )


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def markdown(made: dict[str, Any], threads: dict[str, Any] | None = None) -> str:
    """The same for people who read it in a repository."""
    lines = [
        "# Adaptation on a device, side by side",
        "",
        "Generated by `python -m benchmarks.readme`; no figure is typed by hand.",
        "",
        *wrap(_EXPLAINED, 110),
        "",
        _CLOCKS[made["threads"] == 1],
        "",
        "## Times as long as regrow's C core",
        "",
        *table(*summary(made)),
        "",
        "## On all cores",
        "",
        _CLOCKS[0] if threads else NOT_MEASURED,
        "",
    ]
    if threads:
        lines += [*table(*summary(threads)), "", *(f"- {fact}" for fact in facts(threads)), ""]
    for case in made["cases"]:
        lines += [f"## {title(case)}", ""]
        lines += [noisy(case), ""] if noisy(case) else []
        body = [[r.peer, *(r.figures or [r.reason, *[""] * (len(COLUMNS) - 1)])] for r in rows(case, made)]
        lines += [*table(["", *COLUMNS], body), ""]
    lines += ["## On a GPU", "", *gpu_page.markdown(gpu_page.recorded()), ""]
    return "\n".join([*lines, "## The run", "", *(f"- {fact}" for fact in facts(made))]) + "\n"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """As Markdown."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return ["| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in (head, rule, *lines)]


def main(argv: Sequence[str] | None = None) -> int:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suite_page", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("--threads", type=Path, metavar="JSON", help="a result of --threads all")
    parser.add_argument("--html", metavar="FILE")
    parser.add_argument("--markdown", metavar="FILE")
    args = parser.parse_args(argv)
    made = json.loads(args.result.read_text(encoding="utf-8"))
    threads = json.loads(args.threads.read_text(encoding="utf-8")) if args.threads else None
    if args.html:
        atomic_write(args.html, page(made, threads).encode())
    if args.markdown:
        atomic_write(args.markdown, markdown(made, threads).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
