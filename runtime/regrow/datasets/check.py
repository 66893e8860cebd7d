"""Is a dataset what it should be: checksums, counts, splits that share nothing, pictures that stand twice."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from regrow.datasets import split
from regrow.datasets.catalog import DATASETS
from regrow.datasets.fetch import digest
from regrow.datasets.prepare import load, located, missing
from regrow.datasets.table import Table
from regrow.errors import SampleError


def check(name: str) -> dict[str, Any]:
    """The figures; a wrong checksum or a split that overlaps is a SampleError."""
    found = located(name)
    if found is None:
        raise SampleError(missing(name))
    distribution, paths = found
    for file in distribution.files:
        kind = file.digest.partition(":")[0]
        if kind and not file.archive and (have := digest(paths[file.name], kind)) != file.digest:
            raise SampleError(f"{paths[file.name]}: {have}, expected {file.digest}; get the right one")
    table = load(name)
    counts = np.bincount(table.columns["class"], minlength=len(table.names["class"]))
    facts: dict[str, Any] = {
        "files": [str(path) for path in paths.values()],
        "checksums": sum(bool(file.digest and not file.archive) for file in distribution.files),
        "samples": len(table.x),
        "classes": len(counts),
        "smallest_class": int(counts.min()),
        "largest_class": int(counts.max()),
        "duplicates": _duplicates(table),
    }
    if DATASETS[name].split:
        facts |= {part: len(names) for part, names in disjoint(DATASETS[name].split).items()}
    return facts


def disjoint(name: str) -> dict[str, tuple[str, ...]]:
    """The parts of a split, which must share no name and name nothing twice."""
    parts = split.load(name)
    twice = [n for n, count in Counter(n for names in parts.values() for n in names).items() if count > 1]
    if twice:
        raise SampleError(f"split {name}: {twice[0]!r} stands in two places, expected once; correct the list")
    return parts


def _duplicates(table: Table) -> int:
    """How many samples are, bit for bit, an earlier one."""
    seen = {hashlib.blake2b(x.tobytes(), digest_size=16).digest() for x in table.x}
    return len(table.x) - len(seen)
