"""The table of docs/service.md from benchmarks/results/service.json. No figure in it is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "benchmarks" / "results" / "service.json"
PAGE = ROOT / "docs" / "service.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def table(record: dict[str, Any]) -> str:
    """The figures with the machine, the date and the command."""
    at = record["machine"]
    lines = [
        "| clients | beside | predictions/s | median | p99 | longest |",
        "|---:|---|---:|---:|---:|---:|",
        *(_row(row) for row in record["results"]),
        "",
        f"{record['model']}, {record['engine']} engine; {at['cpu']}, {at['cores']} cores, other work on the "
        f"machine: load {at['load']}; regrow {at['versions']['regrow']}, {at['date'][:10]}, "
        f"`{record['command']}`. Clients and service share the cores.",
    ]
    return "\n".join(lines)


def _row(row: dict[str, Any]) -> str:
    beside = (
        f"{row['adaptations']} adaptations of {row['adaptation_ms']:.0f} ms"
        if row["beside_adaptations"]
        else "nothing"
    )
    figures = " | ".join(f"{row[key]:.1f} ms" for key in ("median_ms", "p99_ms", "max_ms"))
    return f"| {row['clients']} | {beside} | {row['per_second']:.0f} | {figures} |"


def page(text: str, record: dict[str, Any]) -> str:
    """The page with its table renewed."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table(record)}\n{END}{after}"


def write() -> None:
    """Renew the table of the page."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")
