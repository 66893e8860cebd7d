"""What a subcommand is, and what all of them share. Loads in a millisecond: no numpy here.

A package adds a subcommand by naming a Command under the entry-point group `regrow.commands`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from regrow.errors import RegrowError, UnsupportedError

GROUP = "regrow.commands"

# Importable name -> the extra that brings it.
EXTRAS = {
    "onnxruntime": "onnx",
    "PIL": "images",
    "torch": "train",
    "onnx": "train",
    "pydantic": "train",
    "tensorboard": "train",
    "matplotlib": "bench",
    "fastapi": "serve",
    "uvicorn": "serve",
}

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True)
class Command:
    """One subcommand: `run` returns the exit code; `needs` are (module, extra) it cannot run without."""

    name: str
    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    needs: tuple[tuple[str, str], ...] = ()


def importable(module: str) -> bool:
    """Whether an optional package is there; one whose import is blocked is not."""
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def missing(place: str, module: str, extra: str) -> UnsupportedError:
    """What to say where an optional package is not there."""
    return UnsupportedError(f"{place}: needs {module}, which is not installed; pip install 'regrow[{extra}]'")


def require(place: str, needs: Iterable[tuple[str, str]]) -> None:
    """Refuse where one of (module, extra) is not there."""
    for module, extra in needs:
        if not importable(module):
            raise missing(place, module, extra)


def emit(args: argparse.Namespace, data: Mapping[str, Any], text: str) -> None:
    """Print the result: JSON where asked for, else the text for people."""
    sys.stdout.write((json.dumps(data, indent=2) if getattr(args, "json", False) else text.rstrip()) + "\n")


def add_force(parser: argparse.ArgumentParser) -> None:
    """The one way to replace an existing output."""
    parser.add_argument("--force", action="store_true", help="replace output files that exist")


def refuse_overwrite(paths: Iterable[str | None], force: bool) -> None:
    """Ask before work begins, not when an hour of it is to be saved."""
    for path in paths:
        if path is not None and not force and os.path.lexists(path):
            raise RegrowError(
                f"{path}: exists already, expected a new file; choose another name or add --force"
            )


def byte_count(text: str) -> int:
    """`65536`, `64KiB`, `1.5 MB` as a number of bytes, for argparse."""
    number = text.strip().lower().rstrip("bikmg ")
    unit = text.strip().lower()[len(number) :].strip() or "b"
    if unit not in _UNITS:
        raise ValueError(text)
    return int(float(number) * _UNITS[unit])


def human_bytes(count: float) -> str:
    """`1.4 MB`, decimal as disks and papers count."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Rows as aligned columns; the columns in `right` are aligned to the right."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    flush = set(right)
    lines = (
        "  ".join(
            cell.rjust(w) if i in flush else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(r, widths, strict=True))
        )
        for r in rows
    )
    return "\n".join(line.rstrip() for line in lines)
