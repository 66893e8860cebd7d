"""Photographs in one folder per class."""

from __future__ import annotations

from pathlib import Path

from regrow.datasets.photos import Paths, Photo, Reader
from regrow.datasets.split import PARTS
from regrow.episodes import images
from regrow.errors import SampleError


def _photos(paths: Paths) -> list[Photo]:
    """Every image of every class; classes may lie in folders called train, val and test."""
    folders = _class_folders(next(iter(paths.values())))
    return [Photo(file, name) for name, folder in folders.items() for file in images.files_of(folder)]


read = Reader(_photos)


def _class_folders(root: Path) -> dict[str, Path]:
    inside = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if inside and {entry.name for entry in inside} <= set(PARTS):
        inside = [entry for part in inside for entry in part.iterdir() if entry.is_dir()]
    if not inside and (pickles := sorted(root.glob("*.pkl"))):
        raise SampleError(
            f"{pickles[0]}: a pickle, which is never opened, since to load one is to run what is in it; "
            "expected one folder per class: write its pictures out as PNG, each into the folder of its class"
        )
    if not inside:
        raise SampleError(f"{root}: no folders, expected one per class; put the images into them")
    return {entry.name: entry for entry in inside}
