"""Caltech-101 from packed JPEG files of 84 x 84: 3 x 84 x 84."""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from regrow.datasets.table import Table
from regrow.episodes.images import pillow


def read_packed(paths: Mapping[str, Path]) -> Table:
    """Every image decoded."""
    path = next(iter(paths.values()))
    image_module = pillow(path)
    with np.load(path, allow_pickle=False) as archive:
        data, offsets = archive["jpeg"].tobytes(), archive["offsets"]
        labels = archive["label"].astype(np.int64)
        names = tuple(str(name) for name in archive["class_names"])
    made = []
    for start, stop in pairwise(int(offset) for offset in offsets):
        with image_module.open(io.BytesIO(data[start:stop]), formats=("JPEG",)) as image:
            made.append(np.asarray(image.convert("RGB"), np.uint8).transpose(2, 0, 1))
    return Table(np.stack(made), {"class": labels}, {"class": names}, 1 / 255)
