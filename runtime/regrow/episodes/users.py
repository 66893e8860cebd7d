"""A group source over a person's own recordings: `users:PATH`, a table with a column that says whose each is.

NPZ: arrays `x`, `y` and `user`. CSV: columns `label` and `user`, every other column a number. Where there is
no `user`, `device` says it.
"""

from __future__ import annotations

import csv
from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np

from regrow.datasets.table import GroupedTable, Table, by_group, picked
from regrow.episodes.readers import OWNERS, load_samples
from regrow.errors import SampleError


def users(
    path: str,
    *,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    shape: Sequence[int] | None = None,
) -> GroupedTable:
    """Open a table of samples as one class source per user; `only` and `without` pick users by name.

    Leaving one user out is two sources: `without = ["ana"]` to train, `only = ["ana"]` to test.
    """
    if not path:
        raise SampleError("source 'users': no path; write users:PATH")
    x, labels, _ = load_samples(path, shape)
    if not isinstance(labels, list):
        raise SampleError(f"{path}: labels are numbers to fit, expected classes; use whole numbers or texts")
    owners = _owners(Path(path), len(x))
    classes, users = sorted(set(map(str, labels))), sorted(set(owners))
    chosen = picked(users, only, without, path)
    columns = {
        "class": np.array([classes.index(str(label)) for label in labels]),
        "user": np.array([users.index(owner) for owner in owners]),
    }
    scale = 1 / 255 if x.dtype == np.uint8 else 1.0
    table = Table(x, columns, {"class": tuple(classes), "user": tuple(users)}, scale)
    return by_group(table, "user", chosen)


def _owners(path: Path, count: int) -> list[str]:
    """Whose each sample is."""
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
        column = _column(rows[0]) if rows else None
        owners = [str(row.get(column) or "").strip() for row in rows] if column else []
    elif path.suffix.lower() == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            column = _column(archive.files)
            owners = [str(o) for o in archive[column]] if column else []
    else:
        raise SampleError(f"{path}: expected .npz or .csv with a column 'user' or 'device'; convert the file")
    if len(owners) != count or not all(owners):
        raise SampleError(
            f"{path}: {sum(map(bool, owners))} samples say in 'user' whose they are, expected all "
            f"{count}; add the column, or 'device'"
        )
    return owners


def _column(names: Container[str]) -> str | None:
    return next((name for name in OWNERS if name in names), None)
