"""Photographs, wherever their names and classes come from, fitted to 3 x 84 x 84. Needs Pillow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from regrow.datasets.table import Table
from regrow.episodes import images
from regrow.progress import Progress

SHAPE = (3, 84, 84)
Paths = Mapping[str, Path]


class Photo(NamedTuple):
    """A file, the name of its class, and what part of it is taken: None for all."""

    file: Path
    label: str
    box: images.Box | None = None


@dataclass(frozen=True)
class Reader:
    """Reads a distribution of photographs into a table; `photos` names them and opens none."""

    photos: Callable[[Paths], list[Photo]]

    def __call__(self, paths: Paths) -> Table:
        # By class and name: the same pictures make the same table, in folders or in lists.
        chosen = sorted(self.photos(paths), key=lambda photo: (photo.label, photo.file.name))
        names, labels = np.unique([photo.label for photo in chosen], return_inverse=True)
        # In a file without a name: the larger of these sets do not fit in memory.
        with tempfile.TemporaryFile() as space:
            x = np.memmap(space, np.uint8, "w+", shape=(len(chosen), *SHAPE))
        with Progress(len(x), f"read {next(iter(paths.values())).name}") as progress:
            for i, photo in enumerate(chosen):
                x[i] = images.read_one(photo.file, SHAPE, photo.box)
                progress.update(i + 1)
        return Table(x, {"class": labels.astype(np.int64)}, {"class": tuple(names.tolist())}, 1 / 255)
