"""Undo the packings that make arrays small in archives. All are lossless; documented where the data is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def nibbles(packed: Bytes, height: int, width: int) -> Bytes:
    """Two pixels of 4 bits per byte, the first in the high half: (n, h * w / 2) -> (n, h, w), 0 to 15."""
    pixels = np.empty((len(packed), height * width), np.uint8)
    pixels[:, 0::2], pixels[:, 1::2] = packed >> 4, packed & 15
    return pixels.reshape(-1, height, width)


def summed16(low: Bytes, high: Bytes) -> NDArray[np.int16]:
    """Running sums, modulo 65536 along the last axis, of differences split into two byte planes."""
    steps = low.astype(np.uint16) | (high.astype(np.uint16) << 8)
    return np.cumsum(steps, axis=-1, dtype=np.uint16).view(np.int16)


def median_predicted(residuals: Bytes, *, signed: bool = False) -> NDArray[np.int16]:
    """Images (n, h, w) from residuals modulo 256 of the LOCO-I predictor.

    That is the median of left, above, and left + above - corner; at two edges the one neighbour there is.
    """
    planes = np.ascontiguousarray(np.moveaxis(residuals, 0, -1)).astype(np.int16)  # (h, w, n): n together
    height, width, _ = planes.shape
    image = np.empty_like(planes)
    low = -128 if signed else 0
    for i in range(height):
        for j in range(width):
            image[i, j] = ((planes[i, j] + _predicted(image, i, j) - low) & 255) + low
    return np.moveaxis(image, -1, 0)


def _predicted(image: NDArray[np.int16], i: int, j: int) -> Any:
    if not (i and j):
        return image[i, j - 1] if j else (image[i - 1, j] if i else 0)
    left, above = image[i, j - 1], image[i - 1, j]
    low, high = np.minimum(left, above), np.maximum(left, above)
    return np.maximum(low, np.minimum(high, left + above - image[i - 1, j - 1]))


def colours(residuals: Bytes) -> Bytes:
    """(3, n, h, w) residuals of green, red - green and blue - green -> (n, 3, h, w) red, green, blue."""
    green = median_predicted(residuals[0])
    red, blue = (median_predicted(plane, signed=True) + green for plane in residuals[1:])
    return np.stack([red & 255, green, blue & 255], 1).astype(np.uint8)
