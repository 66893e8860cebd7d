"""STL-10's labelled images from its official binary archive: 3 x 96 x 96."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from regrow.datasets.table import Table
from regrow.errors import SampleError

SIDE = 96
_NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def read(paths: Mapping[str, Path]) -> Table:
    """Training images first, then test images; the unlabelled ones are left in the archive."""
    path = next(iter(paths.values()))
    found: dict[str, bytes] = {}
    wanted = {f"stl10_binary/{part}_{kind}.bin" for part in ("train", "test") for kind in "Xy"}
    try:
        # A stream: the archive is 2.6 GB, most of it unlabelled images that come last.
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name in wanted else None
                if file is not None:
                    found[member.name] = file.read()
                if len(found) == len(wanted):
                    break
    except (OSError, tarfile.TarError, EOFError) as error:
        raise SampleError(f"{path}: cannot be read ({error}); fetch the official archive again") from error
    parts = [
        [found.get(f"stl10_binary/{part}_{kind}.bin", b"") for kind in "Xy"] for part in ("train", "test")
    ]
    if any(not y or len(x) != len(y) * 3 * SIDE * SIDE for x, y in parts):
        raise SampleError(f"{path}: images and labels do not fit; fetch the official archive again")
    # Stored column by column, so the two axes of a plane are exchanged.
    x = np.frombuffer(b"".join(x for x, _ in parts), np.uint8).reshape(-1, 3, SIDE, SIDE).swapaxes(2, 3)
    y = np.frombuffer(b"".join(y for _, y in parts), np.uint8).astype(np.int64) - 1
    official = np.repeat([0, 1], [len(y) for _, y in parts])
    names = {"class": _NAMES, "official": ("train", "test")}
    return Table(np.ascontiguousarray(x), {"class": y, "official": official}, names, 1 / 255)
