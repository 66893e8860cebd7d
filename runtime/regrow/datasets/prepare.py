"""From the files of a dataset to a table that is memory-mapped: done once, again when the files change."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from regrow.datasets import places
from regrow.datasets import table as tables
from regrow.datasets.catalog import DATASETS, Dataset, Distribution
from regrow.datasets.table import Table
from regrow.errors import RegrowError, SampleError


def located(name: str) -> tuple[Distribution, dict[str, Path]] | None:
    """The first distribution of a dataset whose files are all there, and where they are."""
    for distribution in DATASETS[name].distributions:
        paths = {file.name: places.find(name, file.name) for file in distribution.files}
        whole = {file: path for file, path in paths.items() if path is not None}
        if len(whole) == len(paths):
            return distribution, whole
    return None


def folder(name: str) -> Path:
    """Where a dataset's table is kept once it is prepared."""
    return places.prepared(DATASETS[name].table or name)


def load(name: str) -> Table:
    """A dataset's table: as prepared before, or prepared now."""
    found = located(name)
    origin = None if found is None else _origin(*found)
    kept = tables.read(folder(name))
    if kept is not None and origin in (None, kept[1]):
        return kept[0]
    if found is None:
        raise SampleError(missing(name))
    return _prepared(name, *found)


@lru_cache(maxsize=4)
def opened(name: str, root: Path) -> Table:
    """`load`, remembered per data folder: an evaluation opens its source more than once."""
    return load(name)


def _prepared(name: str, distribution: Distribution, paths: dict[str, Path]) -> Table:
    sys.stderr.write(f"regrow: preparing {name} from {', '.join(paths)}\n")
    module, _, function = distribution.reader.partition(":")
    made: Table = getattr(import_module(module), function)(paths)
    place = folder(name)
    try:
        tables.write(place, made, _origin(distribution, paths))
    except RegrowError as error:
        # Slower next time, and right all the same.
        sys.stderr.write(f"regrow: not kept for the next time: {error}\n")
        return made
    kept = tables.read(place)
    return made if kept is None else kept[0]


def _origin(distribution: Distribution, paths: dict[str, Path]) -> dict[str, Any]:
    """What a table was made of: enough to notice another file under the same name."""
    facts = {name: [path.stat().st_size, path.stat().st_mtime_ns] for name, path in paths.items()}
    return {"reader": distribution.reader, "files": facts}


def missing(name: str) -> str:
    """What to do where a dataset is not there."""
    dataset: Dataset = DATASETS[name]
    wanted = " or ".join(", ".join(file.name for file in d.files) for d in dataset.distributions)
    fetched = any(file.url for d in dataset.distributions for file in d.files)
    remedy = f"run: regrow data prepare {name} --download" if fetched else f"get it from {dataset.homepage}"
    return (
        f"source {name!r}: not found below {places.root()}, expected {wanted}; {remedy}, or set "
        f"{places.VARIABLE} to where it is"
    )
