"""Is a dataset what it should be: checksums, counts, splits that share nothing, pictures that stand twice."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from regrow.datasets import places, split
from regrow.datasets.catalog import DATASETS
from regrow.datasets.descriptors import Distribution
from regrow.datasets.fetch import digest
from regrow.datasets.photos import Reader
from regrow.datasets.prepare import folder, load, located, missing, reader
from regrow.datasets.table import Table
from regrow.errors import SampleError


def check(name: str) -> dict[str, Any]:
    """The figures; a wrong checksum, pictures that have gone or a split that overlaps is a SampleError."""
    found = located(name)
    if found is None:
        raise SampleError(missing(name))
    distribution, paths = found
    compared = _compared(name, distribution)
    table = load(name)
    made = reader(distribution)
    if isinstance(made, Reader) and (there := len(made.photos(paths))) != len(table.x):
        raise SampleError(
            f"{folder(name)}: prepared from {len(table.x)} pictures, {there} are there now; remove it and "
            "prepare them anew"
        )
    counts = np.bincount(table.columns["class"], minlength=len(table.names["class"]))
    facts: dict[str, Any] = {
        "files": [str(path) for path in paths.values()],
        "checksums": compared,
        "samples": len(table.x),
        "classes": len(counts),
        "smallest_class": int(counts.min()),
        "largest_class": int(counts.max()),
        "duplicates": _duplicates(table),
    }
    if DATASETS[name].split:
        parts = disjoint(DATASETS[name].split)
        facts |= {part: len(names) for part, names in parts.items()}
        known = {n.replace("/", "_") for names in table.names.values() for n in names}
        facts["lacking"] = sum(n.replace("/", "_") not in known for names in parts.values() for n in names)
    return facts


def _compared(name: str, distribution: Distribution) -> int:
    """How many checksums are right: those of the files, and of the archives that still lie beside them."""
    wanted = {file.archive or file.name: file.digest for file in distribution.files if file.digest}
    found = {place: want for file, want in wanted.items() if (place := places.find(name, file))}
    for place, want in found.items():
        if (have := digest(place, want.partition(":")[0])) != want:
            raise SampleError(f"{place}: {have}, expected {want}; get the right one")
    return len(found)


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
