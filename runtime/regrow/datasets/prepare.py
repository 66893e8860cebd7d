"""From the files of a dataset to a table that is memory-mapped: done once, again when the files change."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from regrow.datasets import places
from regrow.datasets import table as tables
from regrow.datasets.catalog import DATASETS
from regrow.datasets.descriptors import Dataset, Distribution
from regrow.datasets.table import Table
from regrow.errors import RegrowError, SampleError


def located(name: str) -> tuple[Distribution, dict[str, Path]] | None:
    """The first distribution of a dataset whose files are all there, and where they are."""
    dataset = DATASETS[name]
    for distribution in dataset.distributions:
        paths = {file.name: places.find(name, file.name) for file in distribution.files}
        whole = {file: path for file, path in paths.items() if path is not None}
        if len(whole) == len(paths) and not any(
            _holds_another(p, distribution, dataset) for p in whole.values()
        ):
            return distribution, whole
    return None


def _holds_another(path: Path, distribution: Distribution, dataset: Dataset) -> bool:
    """Whether a folder named like the dataset holds another distribution, whole or not, and no classes."""
    others = [file for other in dataset.distributions if other is not distribution for file in other.files]
    names = {Path(name).parts[0] for file in others for name in (file.name, file.archive) if name}
    return path.is_dir() and any((path / n).exists() or (path / f"{n}.part").exists() for n in names)


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


def reader(distribution: Distribution) -> Callable[[Mapping[str, Path]], Table]:
    """What makes a table of a distribution's files."""
    module, _, function = distribution.reader.partition(":")
    found: Callable[[Mapping[str, Path]], Table] = getattr(import_module(module), function)
    return found


def _prepared(name: str, distribution: Distribution, paths: dict[str, Path]) -> Table:
    sys.stderr.write(f"regrow: preparing {name} from {', '.join(paths)}\n")
    made = reader(distribution)(paths)
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
    files = [file for d in dataset.distributions for file in d.files]
    fetched = any(file.url for file in files)
    remedy = f"run: regrow data prepare {name} --download" if fetched else f"get it from {dataset.homepage}"
    here = dict.fromkeys(file.archive for file in files if file.archive and places.find(name, file.archive))
    remedy += f", which unpacks the {' and '.join(here)} that is there" if here else ""
    return (
        f"source {name!r}: not found below {places.root()}, expected {wanted}; {remedy}, or set "
        f"{places.VARIABLE} to where it is"
    )
