"""Photographs in one folder per class, fitted to 3 x 84 x 84. Needs Pillow."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from regrow.datasets.split import PARTS
from regrow.datasets.table import Table
from regrow.episodes import images
from regrow.errors import SampleError
from regrow.progress import Progress

SHAPE = (3, 84, 84)


def read(paths: Mapping[str, Path]) -> Table:
    """Every image of every class; classes may lie in folders called train, val and test."""
    root = next(iter(paths.values()))
    folders = _class_folders(root)
    files = {name: images.files_of(folder) for name, folder in folders.items()}
    # In a file without a name: the larger of these sets do not fit in memory.
    shape = (sum(map(len, files.values())), *SHAPE)
    with tempfile.TemporaryFile() as space:
        x = np.memmap(space, np.uint8, "w+", shape=shape)
    at = 0
    with Progress(len(x), f"read {root.name}") as progress:
        for found in files.values():
            for file in found:
                x[at] = images.read_one(file, SHAPE)
                at += 1
                progress.update(at)
    labels = np.repeat(np.arange(len(files)), [len(found) for found in files.values()])
    return Table(x, {"class": labels}, {"class": tuple(files)}, 1 / 255)


def _class_folders(root: Path) -> dict[str, Path]:
    inside = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if inside and {entry.name for entry in inside} <= set(PARTS):
        inside = sorted(
            (entry for part in inside for entry in part.iterdir() if entry.is_dir()), key=lambda e: e.name
        )
    if not inside:
        raise SampleError(f"{root}: no folders, expected one per class; put the images into them")
    return {entry.name: entry for entry in inside}
