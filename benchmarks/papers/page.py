"""docs/papers.md and its pictures from the recorded results. No figure in them is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.papers import judge
from benchmarks.papers.charts import draw
from benchmarks.papers.record import Figure, Finding, Record, record
from benchmarks.papers.table import Cell, Preset, Table
from regrow.files import atomic_write

ROOT = Path(__file__).resolve().parents[2]
DOCS, RESULTS = ROOT / "docs", ROOT / "benchmarks" / "results" / "papers"
PAGE = "papers.md"
_HEAD = """# The papers' tables

Every cell is the published figure, then ours with the half width of its 95 % interval, then its status. One
command runs a table again; `--preset gpu` runs it at full length. Tables whose data is not here are listed
with what they print.

    export REGROW_DATA=DIR
    python -m benchmarks.papers                                # which tables there are
    python -m benchmarks.papers {example} --preset cpu --record
    python -m benchmarks.papers {example} --only 5w1s-maml-third/90 --minutes 20   # cells that begin so
    python -m benchmarks.papers --page                         # this page

Whole tables take from minutes to hours of one core, as their preset says; stopped or interrupted, the same
command goes on.

**Cells.** {cells}

**Claims.** {claims}

"""


def read(table: Table, results: Path = RESULTS) -> Record | None:
    """A table's record, if there is one."""
    path = results / f"{table.name}.json"
    if not path.exists():
        return None
    made: Record = json.loads(path.read_text(encoding="utf-8"))
    # A table may have grown since: what its record lacks was not run.
    unrun = record(table, made["preset"], Preset("", (), 0), {}, {})
    claims = {claim["says"]: claim for claim in made["claims"]}
    return {
        **made,
        "cells": {key: made["cells"].get(key, cell) for key, cell in unrun["cells"].items()},
        "claims": [claims.get(claim["says"], claim) for claim in unrun["claims"]],
    }


def write_page(docs: Path, results: Path = RESULTS) -> None:
    """The page and its pictures, from what is recorded."""
    from benchmarks.papers.tables import TABLES

    atomic_write(docs / PAGE, page(TABLES, results).encode())
    for name, picture in pictures(TABLES, results).items():
        atomic_write(docs / name, picture.encode())


def pictures(tables: Sequence[Table], results: Path = RESULTS) -> dict[str, str]:
    """SVG by file name."""
    found = {}
    for table in tables:
        made = read(table, results)
        for chart in table.charts if made else ():
            picture = draw(chart, made) if made else None
            if picture is not None:
                found[f"papers-{table.name}-{chart.name}.svg"] = picture
    return found


def page(tables: Sequence[Table], results: Path = RESULTS) -> str:
    """All tables: an overview, those that were run, those that were not."""
    head = _HEAD.format(example=tables[0].name, cells=judge.CELL_RULE, claims=judge.CLAIM_RULE)
    records = {t.name: read(t, results) for t in tables}
    parts = [head, _overview(tables, records)]
    parts += [_section(t, made) for t in tables if (made := records[t.name]) is not None]
    parts.append("## Not run\n\n")
    parts += [_unrun(t) for t in tables if records[t.name] is None]
    return "".join(parts)


def _overview(tables: Sequence[Table], records: dict[str, Record | None]) -> str:
    """How many cells of every table are what, and how many claims."""
    states = [*judge.STATUSES[:3], "ours", "not run"]
    lines = [
        f"| table | preset | {' | '.join(states)} | claims that hold, are open, fail |",
        "|---|---|" + "---:|" * 5 + "---|",
    ]
    for table in tables:
        made = records[table.name]
        found = [c["status"] for c in made["cells"].values()] if made else ["not run"] * len(table.cells)
        counts = [str(found.count(s) or "") for s in states]
        verdicts = [c["verdict"] for c in made["claims"]] if made else []
        claims = ", ".join(str(verdicts.count(v)) for v in ("holds", "open", "fails")) if verdicts else ""
        name = f"[{table.title}](#{_anchor(table.title)})" if made else table.title
        lines.append(f"| {name} | {made['preset'] if made else ''} | {' | '.join(counts)} | {claims} |")
    return "\n".join(lines) + "\n\n"


def _section(table: Table, made: Record) -> str:
    """One table as it was run."""
    settings, machine = made["settings"], made["machine"]
    seconds = [t["cpu_seconds"] for t in made["training"].values()]
    measuring = sum(c.get("cpu_seconds", 0.0) for c in made["cells"].values())
    parts = [
        f"## {table.title}\n\n{table.paper}. Tolerance {_number(table, table.tolerance)}{_unit(table)}.\n\n",
        "".join(f"- {words}\n" for words in table.differs),
        f"- Preset `{made['preset']}`: {settings['says']}. Seeds {', '.join(map(str, settings['seeds']))}; "
        f"{settings['episodes']} {table.scored} each, the same for every row. "
        f"{_took(sum(seconds), measuring)}, on {machine['cpu']}, {machine['cores']} cores, load "
        f"{machine['load']}, commit {machine['commit']}, {machine['date'][:10]}."
        f"{_unfinished(table, made)}\n\n",
    ]
    for heading in dict.fromkeys(c.grid for c in table.cells):
        grid = _grid(table, [c for c in table.cells if c.grid == heading], made)
        parts.append((f"{heading}:\n\n" if heading and grid else "") + grid)
    if made["claims"]:
        parts.append(_claims(table, made["claims"]))
    for chart in table.charts:
        if draw(chart, made):
            parts.append(f"![{chart.label}](papers-{table.name}-{chart.name}.svg)\n\n")
    return "".join(parts) + (f"{table.remarks}\n\n" if table.remarks else "")


def _took(training: float, measuring: float) -> str:
    """Of processor time; a learner that is what a cell measures trains in it."""
    if not training:
        return f"Training and measuring took {measuring / 60:.0f} minutes of processor time"
    return f"Training took {training / 60:.0f} minutes of processor time, measuring {measuring / 60:.0f}"


def _unfinished(table: Table, made: Record) -> str:
    """How much of a run is missing, which the intervals of its cells do not tell."""
    jobs = table.jobs(table.presets[made["preset"]]) if made["preset"] in table.presets else []
    missing = sum(str(job.seed) not in made["cells"][job.key].get("by_seed", {}) for job in jobs)
    if not missing:
        return ""
    return f" **Unfinished**: {missing} of {len(jobs)} runs of cells are not done; the same command goes on."


def _grid(table: Table, cells: Sequence[Cell], made: Record) -> str:
    """Rows and columns as the paper has them; columns of which nothing is measured are named, not drawn."""
    place = {(c.row, c.column): c.key for c in cells}
    columns = [
        n
        for n in dict.fromkeys(c.column for c in cells)
        if _any(made, [c.key for c in cells if c.column == n])
    ]
    printed = [c for c in cells if c.published is not None]
    if not columns and not printed:
        return ""
    seeds = len(made["settings"]["seeds"])
    columns = columns if not printed else list(dict.fromkeys(c.column for c in cells))
    lines = ["|  | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for row in dict.fromkeys(c.row for c in cells):
        figures = [made["cells"][place[row, n]] if (row, n) in place else None for n in columns]
        if any(f and ("mean" in f or f["published"] is not None) for f in figures):
            lines.append(f"| {row} | " + " | ".join(_cell(table, f, seeds) for f in figures) + " |")
    return "\n".join(lines) + "\n\n"


def _any(made: Record, keys: Sequence[str]) -> bool:
    return any("mean" in made["cells"][key] for key in keys)


def _cell(table: Table, figure: Figure | None, seeds: int) -> str:
    """Published, ours, status; how many seeds, where some of them are still to come."""
    if figure is None:
        return ""
    printed = "" if figure["published"] is None else _number(table, figure["published"])
    if "mean" not in figure:
        return f"{printed}; not run" if printed else ""
    each = [_number(table, mean) for mean in figure["by_seed"].values()]
    around = f"± {_number(table, (figure['high'] - figure['low']) / 2)}"
    ours = f"**{_number(table, figure['mean'])}** {f'({each[0]}, {each[1]})' if len(each) == 2 else around}"
    facts: dict[str, Any] = next(iter(figure.get("facts", {}).values()), {})
    chosen = f" ({facts['rate']:g} x {facts['steps']})" if "rate" in facts else ""
    done = len(figure["by_seed"])
    chosen += f" ({done} of {seeds} seeds)" if done < seeds else ""
    words = "" if figure["status"] == "ours" else f"; {figure['status']}"
    return f"{printed}; {ours}{chosen}{words}" if printed else f"{ours}{chosen}"


def _claims(table: Table, claims: Sequence[Finding]) -> str:
    """Every claim with the difference that decides it."""
    lines = ["| claim | difference | |", "|---|---|---|"]
    for claim in claims:
        found = ""
        if "mean" in claim:
            mean, low, high = (_number(table, claim[k], sign=True) for k in ("mean", "low", "high"))
            # Two seeds that disagree have an interval wider than all that an accuracy can be.
            told = table.metric != "accuracy" or claim["high"] - claim["low"] < 1
            found = f"{mean} [{low}, {high}]" if told else f"{mean}, from too few seeds for an interval"
        asked = "" if claim["published"] else " (asked here, not published)"
        lines.append(f"| {claim['says']}{asked} | {found} | {claim['verdict']} |")
    return "\n".join(lines) + "\n\n"


def _unrun(table: Table) -> str:
    """A table that nobody ran: what it prints."""
    brought = ", ".join(f"`{name}`" for name in table.needs)
    where = f" by whoever brings {brought} (`regrow data prepare` says from where)" if brought else ""
    lines = [f"### {table.title}\n\n{table.paper}; can be run{where}, has not been.\n\n"]
    place = {(c.row, c.column): c.published for c in table.cells if not c.grid}
    columns = list(dict.fromkeys(column for _, column in place))
    lines.append("|  | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns) + "\n")
    for row in dict.fromkeys(row for row, _ in place):
        printed = [place.get((row, c)) for c in columns]
        if any(printed):
            lines.append(
                f"| {row} | "
                + " | ".join("" if p is None else _number(table, p.value) for p in printed)
                + " |\n"
            )
    return "".join(lines) + "\n"


def _number(table: Table, value: float, *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    return f"{100 * value:{plus}.2f}" if table.metric == "accuracy" else f"{value:{plus}.3f}"


def _unit(table: Table) -> str:
    return " points" if table.metric == "accuracy" else ""


def _anchor(title: str) -> str:
    """As GitHub makes it of a heading."""
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")
