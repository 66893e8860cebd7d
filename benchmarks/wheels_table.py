"""The table of wheels in docs/native.md: `python -m benchmarks.wheels_table`. No figure is typed by hand.

`python runtime/native/wheels.py --record` makes the record.
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "native.md"
RECORD = ROOT / "benchmarks" / "results" / "wheels.json"
BEGIN, END = "<!-- wheels: begin -->", "<!-- wheels: end -->"
HEAD = ("for", "wheel", "core in it, packed", "core", "its `.text`", "its `.rodata`", "asks for")


def table(record: dict[str, Any]) -> str:
    """A row per wheel, in kB."""
    rows = [HEAD, ("---",) * len(HEAD), *map(_row, record["rows"])]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"zig {record['zig']}, {record['date']}; kB of 1000 bytes.\n\n{lines}\n"


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    sizes = ("wheel_bytes", "library_packed", "library", "text", "rodata")
    asks = ", ".join([*row["needs"], *row["versions"]])
    return (row["target"], *(f"{row[size] / 1000:.1f}" for size in sizes), asks)


def replaced(text: str, record: dict[str, Any]) -> str:
    """The page with its table written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(record)}{END}{after}"


if __name__ == "__main__":
    kept = json.loads(RECORD.read_text(encoding="utf-8"))
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), kept), encoding="utf-8")
