"""Samples of one dataset in one memory-mapped array, with what is known of each; and class sources over it.

On disk a table is a folder: `x.npy`, `columns.npy` (whole numbers per sample) and `index.json` (what the
numbers stand for). It is written beside its place and renamed, so a half-written one is never seen.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from regrow.errors import RegrowError, SampleError

FORMAT = 1
Array = NDArray[Any]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Table:
    """x: (n, *shape); a sample's value is x * scale. columns[k][i] is an index into names[k]."""

    x: Array
    columns: Mapping[str, Rows]
    names: Mapping[str, tuple[str, ...]]
    scale: float = 1.0

    def rows(self, **wanted: int) -> Rows:
        """The samples whose columns have these values."""
        kept = np.ones(len(self.x), np.bool_)
        for column, value in wanted.items():
            kept &= self.columns[column] == value
        return np.flatnonzero(kept).astype(np.int64)


@dataclass(frozen=True, eq=False)
class TableSource:
    """A class source: members[i] are the rows of classes[i], turned by turns[i] quarters where given."""

    table: Table
    classes: Sequence[str]
    members: Sequence[Rows]
    turns: Sequence[int] = ()
    # Rows of one block never stand on both sides of an episode: windows that overlap, takes of one minute.
    block: str | None = None
    # Whether every class of an episode is turned by a multiple of 90 degrees that is drawn for the episode.
    turning: bool = False

    @property
    def task(self) -> Literal["classification"]:
        return "classification"

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.table.x.shape[1:]

    def samples(self, class_index: int) -> int:
        return len(self.members[class_index])

    def take(self, class_index: int, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """The named samples as float32, scaled."""
        x = self.table.x[self.members[class_index][indices]]
        if self.turns and self.turns[class_index]:
            x = np.rot90(x, self.turns[class_index], axes=(-2, -1))
        return x.astype(np.float32) * np.float32(self.table.scale)

    def blocks(self, class_index: int) -> Rows | None:
        """The block of every sample of a class; None where each stands alone."""
        return None if self.block is None else self.table.columns[self.block][self.members[class_index]]


@dataclass(frozen=True, eq=False)
class GroupedTable:
    """A group source: one class source per person or device, all with the same classes in the same order."""

    classes: tuple[str, ...]
    groups: tuple[str, ...]
    sources: tuple[TableSource, ...]
    task: Literal["classification"] = field(default="classification", init=False)

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.sources[0].sample_shape

    def samples(self, class_index: int) -> int:
        """How many samples all groups have of a class."""
        return sum(source.samples(class_index) for source in self.sources)

    def group(self, index: int) -> TableSource:
        """What one of `groups` recorded."""
        return self.sources[index]


def by_class(
    table: Table, names: Iterable[str], *, quarters: Sequence[int] = (0,), turning: bool = False
) -> TableSource:
    """The classes called `names`, each once per quarter turn; a turned class is a class of its own."""
    known = {name: i for i, name in enumerate(table.names["class"])}
    members = {name: table.rows(**{"class": known[name]}) for name in names}
    chosen = [(name, turn) for turn in quarters for name in members]
    labels = [f"{name} turned {90 * turn}" if turn else name for name, turn in chosen]
    turns = [turn for _, turn in chosen]
    return TableSource(table, labels, [members[n] for n, _ in chosen], turns, turning=turning)


def picked(groups: Sequence[str], only: Sequence[str], without: Sequence[str], place: str) -> tuple[str, ...]:
    """The groups in `only`, or all, that are not in `without`. Leaving one out is two sources."""
    for name in (*only, *without):
        if name not in groups:
            raise SampleError(f"{place}: no user {name!r}, expected some of {', '.join(groups[:8])}")
    return tuple(g for g in groups if (not only or g in only) and g not in without)


def by_group(
    table: Table,
    column: str,
    groups: Iterable[str],
    *,
    block: str | None = None,
    classes: Sequence[str] | None = None,
    **fixed: int,
) -> GroupedTable:
    """One source per group, of some of the classes where given, over the rows with the `fixed` values.

    A group that lacks a class altogether is left out, since it cannot be asked.
    """
    known = {name: i for i, name in enumerate(table.names[column])}
    numbers = {name: i for i, name in enumerate(table.names["class"])}
    classes = tuple(numbers if classes is None else classes)
    made: dict[str, TableSource] = {}
    for name in groups:
        if name not in known:
            raise SampleError(f"{column}: no {name!r} in the files, expected it; get all of them")
        members = [table.rows(**fixed, **{column: known[name], "class": numbers[c]}) for c in classes]
        if all(len(rows) for rows in members):
            made[name] = TableSource(table, classes, members, block=block)
    if not made:
        raise SampleError(
            f"{column}: no {column} has samples of all of {', '.join(classes)}, expected at least one; "
            "remove the classes that few have"
        )
    return GroupedTable(classes, tuple(made), tuple(made.values()))


def write(folder: Path, table: Table, origin: Mapping[str, Any]) -> None:
    """Store a table; `origin` says what it was made of and comes back from `read`."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    index = {
        "format": FORMAT,
        "scale": table.scale,
        "columns": list(table.columns),
        "names": table.names,
        "origin": origin,
    }
    try:
        draft.mkdir(parents=True)
        np.save(draft / "x.npy", table.x, allow_pickle=False)
        columns = np.stack([column.astype(np.int64) for column in table.columns.values()])
        np.save(draft / "columns.npy", columns, allow_pickle=False)
        (draft / "index.json").write_text(json.dumps(index), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except OSError as error:
        raise RegrowError(
            f"{folder}: could not be written ({error.strerror or error}); free some space, or point "
            "XDG_CACHE_HOME at a folder you may write to"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read(folder: Path) -> tuple[Table, dict[str, Any]] | None:
    """A stored table and its origin, samples memory-mapped; None where none, or none of this format, is."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            return None
        x = np.load(folder / "x.npy", mmap_mode="r", allow_pickle=False)
        stored = np.load(folder / "columns.npy", mmap_mode="r", allow_pickle=False)
        columns = dict(zip(index["columns"], stored, strict=True))
        names = {name: tuple(values) for name, values in index["names"].items()}
        whole = all(len(column) == len(x) for column in columns.values())
        return (Table(x, columns, names, float(index["scale"])), index["origin"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # damaged, or of another version: it is prepared again from the files it came from
