"""The tables of docs/metal.md from the recorded measurement. No figure in them is typed by hand."""

from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metal.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
CORE_TEXT_LIMIT = 24 * 1024  # of a conv4 on the M7 at -Os
BOARDS = {"m4": "Cortex-M4", "m7": "Cortex-M7", "m55": "Cortex-M55"}


def tables(record: dict[str, Any]) -> str:
    """Flash and RAM at -Os, then instructions at both settings."""
    rows = record["rows"]
    tools = ", ".join(f"{name} {version}" for name, version in record["tools"].items())
    intro = (
        f"{tools}, {record['date']}; {record['samples']} samples, everything adapts, a share of the weights "
        "pruned at random. **Bold** misses its target."
    )
    small = [row for row in rows if row["flags"] == "-Os"]
    sizes = _table(_SIZES, [_sizes(row) for row in small])
    fast = {_key(row): row for row in rows if row["flags"] == "-O2"}
    counts = _table(_COUNTS, [_counts(row, fast[_key(row)]) for row in small])
    return (
        f"{intro}\n\n### Bytes, at -Os\n\nBytes, or KiB where it says so.\n\n{sizes}\n"
        f"### Instructions, in millions\n\n{counts}"
    )


_SIZES = ["network", "pruned", "processor", "core", "its constants", "plans and weights", "model code"]
_SIZES += ["RAM", "of it arena", "stack"]
_COUNTS = ["network", "pruned", "processor", "step, -Os", "step, -O2", "predict, -Os", "predict, -O2"]


def _sizes(row: dict[str, Any]) -> list[str]:
    core = str(row["core_text"])
    if "conv4" in row["network"] and row["board"] == "m7" and row["core_text"] > CORE_TEXT_LIMIT:
        core = f"**{core}**"
    flash = [core, str(row["core_rodata"]), _kib(row["model_rodata"]), str(row["model_text"])]
    ram = [_kib(row["model_bss"] + row["model_data"]), _kib(row["arena"]), str(row["stack"])]
    return [*_named(row), *flash, *ram]


def _counts(small: dict[str, Any], fast: dict[str, Any]) -> list[str]:
    return [*_named(small), *(f"{r[w] / 1e6:.2f}" for w in ("step", "predict") for r in (small, fast))]


def _named(row: dict[str, Any]) -> list[str]:
    return [row["network"], f"{row['sparsity'] * 100:.0f} %", BOARDS[row["board"]]]


def _key(row: dict[str, Any]) -> tuple[str, float, str]:
    return row["network"], row["sparsity"], row["board"]


def _kib(count: int) -> str:
    return f"{count / 1024:.1f} KiB"


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def replaced(text: str, record: dict[str, Any]) -> str:
    """The page with its tables written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables(record)}{END}{after}"


def write_page(record: dict[str, Any]) -> None:
    """Bring docs/metal.md up to date."""
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")
