"""Omniglot at 28 x 28: ink 1 on paper 0."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from regrow.datasets.codecs import nibbles
from regrow.datasets.table import Table
from regrow.episodes.images import pillow
from regrow.errors import SampleError

SIDE = 28
_LEVELS = 15  # of the packed grey


def read_packed(paths: Mapping[str, Path]) -> Table:
    """The packed array: 16 levels of grey, classes in official order."""
    with np.load(paths["omniglot_28.npz"], allow_pickle=False) as archive:
        x = nibbles(archive["gray4"], SIDE, SIDE)[:, None]
        names = tuple(str(name) for name in archive["class_names"])
        evaluation = archive["official_eval"]
    drawings = len(x) // len(names)
    return _table(x, names, np.repeat(np.arange(len(names)), drawings), evaluation, 1 / _LEVELS)


def read(paths: Mapping[str, Path]) -> Table:
    """The official archives of PNG files, averaged down to 28 x 28."""
    found: dict[str, list[NDArray[np.uint8]]] = {}
    evaluation: list[bool] = []
    for archive in sorted(paths):  # background before evaluation
        for name, image in _drawings(paths[archive]):
            if name not in found:
                found[name] = []
                evaluation.append(archive == "images_evaluation.zip")
            found[name].append(image)
    labels = np.repeat(np.arange(len(found)), [len(images) for images in found.values()])
    x = np.stack([image for images in found.values() for image in images])[:, None]
    return _table(x, tuple(found), labels, np.array(evaluation), 1 / 255)


def _drawings(path: Path) -> list[tuple[str, NDArray[np.uint8]]]:
    """(alphabet/character, image) in name order."""
    image_module = pillow(path)
    made = []
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(n for n in archive.namelist() if n.endswith(".png") and "__MACOSX" not in n)
            for member in members:
                with image_module.open(io.BytesIO(archive.read(member)), formats=("PNG",)) as image:
                    small = image.convert("L").resize((SIDE, SIDE), image_module.Resampling.BOX)
                alphabet, character = PurePosixPath(member).parts[-3:-1]
                made.append((f"{alphabet}/{character}", 255 - np.asarray(small, np.uint8)))
    except (OSError, zipfile.BadZipFile, ValueError, SyntaxError) as error:
        raise SampleError(f"{path}: cannot be read ({error}); fetch the official archive again") from error
    return made


def _table(
    x: NDArray[np.uint8],
    names: tuple[str, ...],
    labels: NDArray[np.int64],
    evaluation: NDArray[np.bool_],
    scale: float,
) -> Table:
    columns = {"class": labels, "official": evaluation[labels].astype(np.int64)}
    return Table(x, columns, {"class": names, "official": ("background", "evaluation")}, scale)
