"""MNIST and Fashion-MNIST from their official IDX files or a packed subset: 1 x 28 x 28."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.datasets.table import Table
from regrow.errors import SampleError

_DIGITS = tuple(str(digit) for digit in range(10))
_TRAINING = 60_000  # official training images, which come first
_HELD_BACK = 300  # per class, where the official order is lost


def read(paths: Mapping[str, Path]) -> Table:
    """The four official files; images of the training set come first."""
    parts = [[_idx(paths[name]) for name in sorted(paths) if name.startswith(p)] for p in ("train", "t10k")]
    x = np.concatenate([images for images, _ in parts])[:, None]
    y = np.concatenate([labels for _, labels in parts]).astype(np.int64)
    official = np.repeat([0, 1], [len(images) for images, _ in parts])
    return _table(x, y, official, _DIGITS)


def _idx(path: Path) -> NDArray[np.uint8]:
    """Bytes of any rank: two zeros, type 8, rank, then big-endian sizes."""
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise SampleError(f"{path}: cannot be unpacked ({error}); fetch the official file again") from error
    rank = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    start = 4 + 4 * rank
    shape = [int(size) for size in np.frombuffer(data[4:start], ">u4")] if rank and len(data) >= start else []
    if not shape or int(np.prod(shape, dtype=np.int64)) != len(data) - start:
        raise SampleError(f"{path}: {len(data)} bytes are no IDX array; fetch the official file again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_packed(paths: Mapping[str, Path]) -> Table:
    """A packed subset: official places where it has them, else the last of each class serve as test."""
    with np.load(next(iter(paths.values())), allow_pickle=False) as archive:
        x, y = archive["x"][:, None], archive["y"].astype(np.int64)
        names = tuple(map(str, archive["class_names"])) if "class_names" in archive.files else _DIGITS
        if "official_index" in archive.files:
            official: NDArray[Any] = archive["official_index"] >= _TRAINING
        else:
            official = np.zeros(len(y), np.bool_)
            for c in range(len(names)):
                official[np.flatnonzero(y == c)[-_HELD_BACK:]] = True
    return _table(x, y, official.astype(np.int64), names)


def _table(
    x: NDArray[np.uint8], y: NDArray[np.int64], official: NDArray[np.int64], names: tuple[str, ...]
) -> Table:
    return Table(
        x, {"class": y, "official": official}, {"class": names, "official": ("train", "test")}, 1 / 255
    )
