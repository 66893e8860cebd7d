"""CIFAR-100, all images of a fine class together: 3 x 32 x 32."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from regrow.datasets.codecs import colours
from regrow.datasets.table import Table
from regrow.errors import SampleError

_RECORD = 2 + 3 * 32 * 32  # coarse label, fine label, pixels


def read(paths: Mapping[str, Path]) -> Table:
    """The official binary version, training and test images pooled as few-shot splits do."""
    path = next(iter(paths.values()))
    try:
        with tarfile.open(path) as archive:
            parts = [_member(archive, name) for name in ("train.bin", "test.bin")]
            names = _member(archive, "fine_label_names.txt").decode().split()
    except (OSError, tarfile.TarError, KeyError, EOFError) as error:
        raise SampleError(f"{path}: cannot be read ({error}); fetch the official archive again") from error
    if any(len(part) % _RECORD for part in parts):
        raise SampleError(f"{path}: records are not {_RECORD} bytes; fetch the official archive again")
    rows = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, _RECORD)
    counts = [len(part) // _RECORD for part in parts]
    x = np.ascontiguousarray(rows[:, 2:]).reshape(-1, 3, 32, 32)
    columns = {"class": rows[:, 1].astype(np.int64), "official": np.repeat([0, 1], counts)}
    return Table(x, columns, {"class": tuple(names), "official": ("train", "test")}, 1 / 255)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"cifar-100-binary/{name}")
    if file is None:
        raise KeyError(name)
    return file.read()


def read_packed(paths: Mapping[str, Path]) -> Table:
    """Two packed arrays of predictor residuals."""
    pixels, labels = [], []
    names: tuple[str, ...] = ()
    for name in sorted(paths):
        with np.load(paths[name], allow_pickle=False) as archive:
            pixels.append(colours(archive["res"]))
            labels.append(archive["label"].astype(np.int64))
            names = tuple(str(n) for n in archive["fine_names"])
    return Table(np.concatenate(pixels), {"class": np.concatenate(labels)}, {"class": names}, 1 / 255)
