"""Arrays and names as C spells them."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
WIDTH = 110
TYPES = {
    "float32": "float",
    "int64": "int64_t",
    "uint32": "uint32_t",
    "uint16": "uint16_t",
    "uint8": "uint8_t",
    "int8": "int8_t",
    "bool": "uint8_t",
}
# What a field may not be called.
_TAKEN = {
    *("auto", "break", "case", "char", "const", "default", "do", "double", "enum", "extern", "float"),
    *("goto", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof"),
    *("static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile"),
    *keyword.kwlist,
}


def identifiers(names: Iterable[str], prefix: str = "") -> dict[str, str]:
    """A C name for each, the same in every run, no two alike."""
    made: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        base = prefix + re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
        if not base or base[0].isdigit() or base in _TAKEN:
            base = f"v_{base}"
        found, number = base, 1
        while found in used:
            number += 1
            found = f"{base}_{number}"
        used.add(found)
        made[name] = found
    return made


def items(array: Array) -> list[str]:
    """The elements as literals that give the same bits back."""
    if array.dtype == np.float32:
        return [_number(v) for v in array.reshape(-1)]
    suffix = "u" if array.dtype.kind == "u" and array.dtype.itemsize > 1 else ""
    return [
        f"{int(v)}{suffix}" if v > -(2**63) else "INT64_MIN" for v in map(int, array.reshape(-1).tolist())
    ]


def _number(v: np.float32) -> str:
    if not np.isfinite(v):
        return "NAN" if np.isnan(v) else "INFINITY" if v > 0 else "-INFINITY"
    text = str(v)
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def braces(array: Array, indent: str = "    ") -> str:
    """An initialiser over as many lines as it takes; an empty array holds one zero, as C has no other."""
    lines, line = [], indent
    for item in items(array) or ["0"]:
        if len(line) + len(item) + 2 > WIDTH:
            lines.append(line.rstrip())
            line = indent
        line += f"{item}, "
    return "{\n" + "\n".join([*lines, line.rstrip()]) + "\n}"


def constant(name: str, array: Array, note: str) -> str:
    """A definition that stays in flash. Bytes may hold wider numbers: they are aligned for those."""
    aligned = " __attribute__((aligned(8)))" if array.dtype.itemsize == 1 else ""
    kind = TYPES[array.dtype.name]
    return f"/* {comment(note)} */\nstatic const {kind} {name}[]{aligned} = {braces(array)};\n"


def comment(text: str) -> str:
    """Text that cannot end the comment it stands in."""
    return text.replace("*/", "* /").replace("\\", "/").replace("\n", " ")


def string(text: str) -> str:
    """A string literal; what is not plain ASCII as octal escapes of its UTF-8."""
    plain = {ord('"'): '\\"', ord("\\"): "\\\\"}
    made = (
        plain.get(byte, chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}")
        for byte in text.encode("utf-8", errors="replace")
    )
    return '"' + "".join(made).replace("??", "?\\?") + '"'


def define(values: Mapping[str, str | int]) -> str:
    """Macros, one a line, aligned."""
    width = max(map(len, values))
    return "\n".join(f"#define {name.ljust(width)} {value}" for name, value in values.items())
