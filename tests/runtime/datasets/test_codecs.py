"""Packings are undone exactly: each is packed here by its definition, then read."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from regrow.datasets import codecs


def _predict(image: NDArray[np.int64], i: int, j: int) -> int:
    if not (i and j):
        return int(image[i, j - 1] if j else image[i - 1, j] if i else 0)
    left, above, corner = (int(image[i + a, j + b]) for a, b in ((0, -1), (-1, 0), (-1, -1)))
    return sorted((left, above, left + above - corner))[1]


def _residuals(image: NDArray[np.int64]) -> NDArray[np.uint8]:
    made = np.zeros(image.shape, np.uint8)
    for i, j in np.ndindex(*image.shape):
        made[i, j] = (int(image[i, j]) - _predict(image, i, j)) & 255
    return made


@given(st.integers(0, 2**32 - 1))
def test_colours(seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (2, 3, 4, 5))
    red, green, blue = images.transpose(1, 0, 2, 3)
    wrapped = [((plane - green + 128) & 255) - 128 for plane in (red, blue)]
    packed = np.stack([[_residuals(image) for image in plane] for plane in (green, *wrapped)])
    assert (codecs.colours(packed) == images).all()


@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=50))
def test_running_sums(values: list[int]) -> None:
    steps = np.diff(np.array(values), prepend=0) & 0xFFFF
    low, high = (steps & 255).astype(np.uint8), (steps >> 8).astype(np.uint8)
    assert codecs.summed16(low, high).tolist() == values


def test_nibbles() -> None:
    packed = np.array([[0x1F, 0x20], [0x00, 0xAB]], np.uint8)
    assert codecs.nibbles(packed, 2, 2).tolist() == [[[1, 15], [2, 0]], [[0, 0], [10, 11]]]
