"""Which positions of a parameter may move: by what is kept of it, and by rows of its first dimension.

A row is an output channel of a convolution, a class of a linear head, an entry of an embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np

from regrow.fields import Fields, check_integer, fail
from regrow.values import Mask

Positions = Literal["none", "all", "kept", "pruned"]
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class RowSet:
    """Of the positions that `of` names only those in `rows`: ranges [start, stop), ascending, apart."""

    of: Positions
    rows: Ranges


Adaptable = Positions | RowSet
POSITIONS: tuple[Positions, ...] = get_args(Positions)


def parse_adaptable(fields: Fields, shape: tuple[int, ...], version: int) -> Adaptable:
    """The key `adaptable` of a parameter: a word, or from version 2 on an object of `of` and `rows`."""
    if version == 1 or not isinstance(fields.get("adaptable"), dict):
        return cast(Positions, fields.choice("adaptable", POSITIONS))
    own = fields.object("adaptable")
    of = cast(Positions, own.choice("of", POSITIONS[1:]))
    if not shape:
        raise fail(own.at("rows"), own.get("rows"), "a parameter with a first dimension")
    rows: list[tuple[int, int]] = []
    for item, place in own.items("rows"):
        rows.append(_range(item, place, rows[-1][1] + 1 if rows else 0, shape[0]))
    if not rows:
        raise fail(own.at("rows"), [], "at least one range")
    return RowSet(of, tuple(rows))


def _range(item: Any, place: str, low: int, high: int) -> tuple[int, int]:
    if not isinstance(item, list) or len(item) != 2:
        raise fail(place, item, "[start, stop]")
    start = check_integer(item[0], f"{place}[0]", low, high - 1)
    return start, check_integer(item[1], f"{place}[1]", start + 1, high)


def moves(adaptable: Adaptable, shape: tuple[int, ...], kept: Mask | None) -> Mask | None:
    """Where a parameter may move; None where everywhere. `kept` is None where nothing is pruned."""
    if isinstance(adaptable, RowSet):
        inside = moves(adaptable.of, shape, kept)
        made = np.zeros(shape, np.bool_)
        for start, stop in adaptable.rows:
            made[start:stop] = True if inside is None else inside[start:stop]
        return made
    if adaptable == "all" or (adaptable == "kept" and kept is None):
        return None
    if adaptable == "none" or kept is None:
        return np.zeros(shape, np.bool_)
    return kept if adaptable == "kept" else ~kept


def shown(adaptable: Adaptable) -> str:
    """For people.

    >>> shown(RowSet("kept", ((0, 4), (9, 10))))
    'kept[0:4,9]'
    """
    if not isinstance(adaptable, RowSet):
        return adaptable
    parts = (f"{a}" if b == a + 1 else f"{a}:{b}" for a, b in adaptable.rows)
    return f"{adaptable.of}[{','.join(parts)}]"
