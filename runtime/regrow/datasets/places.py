"""Where data lies: the folder REGROW_DATA, else one in the user's cache. Downloads and writes nothing."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "REGROW_DATA"


def cache() -> Path:
    """The user's cache folder for regrow; what is prepared goes here, so that data may be read-only."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "regrow"


def root() -> Path:
    """Where the files of datasets are looked for and downloaded to."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else cache() / "data"


def find(dataset: str, name: str) -> Path | None:
    """A file or folder of a dataset: in a folder named like the dataset, or directly in the root."""
    places = (root() / dataset / name, root() / name)
    return next((place for place in places if place.exists()), None)


def prepared(dataset: str) -> Path:
    """The folder that holds a dataset as it is read while drawing episodes."""
    return cache() / "prepared" / dataset
