"""Adaptable sets by rows: `conv.weight[0:16]`, `@head[3,5]`; a row is an index of the first dimension."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from regrow.errors import UnsupportedError
from regrow.moves import Ranges
from regrow.select import select

_INDEXED = re.compile(r"(.+)\[([\d:, ]*)\]")
_ITEM = re.compile(r"(\d*)(:?)(\d*)")
Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Selected:
    """Adaptable parameters in their order, and the rows of those that move in part."""

    names: tuple[str, ...]
    rows: Mapping[str, Ranges]


def selected(shapes: Shapes, patterns: Sequence[str]) -> Selected:
    """What patterns name together; one without rows that names a parameter names all of it.

    >>> selected({"conv.weight": (8, 1, 3, 3), "head.bias": (5,)}, ["@head", "conv.*[0:2,6]"])
    Selected(names=('conv.weight', 'head.bias'), rows={'conv.weight': ((0, 2), (6, 7))})
    """
    indexed = {pattern: found for pattern in patterns if (found := _indexed(shapes, pattern))}
    plain = [pattern for pattern in patterns if pattern not in indexed]
    whole = set(select(shapes, plain)) if plain or not patterns else set()
    chosen: dict[str, set[int]] = {}
    for pattern, (base, index) in indexed.items():
        for name in select(shapes, [base]):
            chosen.setdefault(name, set()).update(_rows(pattern, index, name, shapes[name]))
    rows = {n: as_ranges(chosen[n]) for n in shapes if n in chosen and n not in whole}
    # All rows are the whole parameter, and cheaper to say so.
    rows = {n: r for n, r in rows.items() if r != ((0, shapes[n][0]),)}
    return Selected(tuple(n for n in shapes if n in whole or n in chosen), rows)


def _indexed(shapes: Shapes, pattern: str) -> tuple[str, str] | None:
    """Pattern and index; None where the brackets are the glob's own, as in `weight_ih_l[01]`."""
    found = _INDEXED.fullmatch(pattern)
    if found is None or any(fnmatchcase(name, pattern) for name in shapes):
        return None
    return found[1], found[2]


def _rows(pattern: str, index: str, name: str, shape: Sequence[int]) -> set[int]:
    count = shape[0] if shape else 0
    made: set[int] = set()
    for text in index.split(","):
        item = _ITEM.fullmatch(text.strip())
        start, colon, stop = item.groups() if item else ("", "", "")
        first = int(start or 0)
        last = int(stop or count) if colon else first + 1
        if not (start or colon) or not 0 <= first < last <= count:
            raise UnsupportedError(
                f"adaptable: {pattern!r}: rows {text.strip()!r} of {name}, which has {count}; expected some "
                f"such as [0:{max(count // 2, 1)}] or [0,2], counted from 0, within its first dimension"
            )
        made.update(range(first, last))
    return made


def as_ranges(rows: set[int]) -> Ranges:
    """The fewest ranges that hold just these rows."""
    made: list[tuple[int, int]] = []
    for row in sorted(rows):
        if made and made[-1][1] == row:
            made[-1] = (made[-1][0], row + 1)
        else:
            made.append((row, row + 1))
    return tuple(made)
