"""Write greyscale PNG files and lay images out in grids, without Pillow. It reads nothing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regrow.episodes.source import Episode
from regrow.errors import SampleError


def encode(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of an (h, w) greyscale image; the same pixels give the same image on every platform."""
    height, width = image.shape
    # Each row is preceded by a filter number; 0 is none.
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def grid(rows: Sequence[NDArray[np.float32]], *, gap: int = 2, scale: int = 2) -> NDArray[np.uint8]:
    """Rows of images (n, h, w) in [0, 1], dark on light with grey lines between: one (H, W) image."""
    lines = []
    for images in rows:
        ink = np.clip(images, 0.0, 1.0) * np.float32(255) + np.float32(0.5)
        cells = np.pad(255 - ink.astype(np.uint8), ((0, 0), (gap, 0), (gap, 0)), constant_values=160)
        lines.append(np.concatenate(list(cells), axis=1))
    sheet = np.pad(np.concatenate(lines), ((0, gap), (0, gap)), constant_values=160)
    return sheet.repeat(scale, axis=0).repeat(scale, axis=1)


def episode_grid(episode: Episode) -> NDArray[np.uint8]:
    """One line per class: its support samples, a dark bar, its query samples."""
    shape = episode.support_x.shape[1:]
    if len(shape) != 3:
        raise SampleError(f"episode: samples have shape {shape}, expected images; there is no grid to draw")
    lines = []
    for label in range(len(episode.classes)):
        support = episode.support_x[episode.support_y == label].mean(1)
        query = episode.query_x[episode.query_y == label].mean(1)
        bar = np.ones((1, shape[1], 6), np.float32)
        lines.append([support, bar, query])
    widths = [np.concatenate([grid([part]) for part in line if len(part)], axis=1) for line in lines]
    return np.concatenate(widths)
