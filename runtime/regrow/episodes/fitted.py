"""Images of one source brought to another shape, so that sources of several sizes fit one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from regrow.episodes.source import BlockedSource, ClassSource
from regrow.errors import SampleError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Fitted:
    """`source` with every image as (channels, height, width): grey is the mean of the colours."""

    source: ClassSource
    sample_shape: tuple[int, int, int]

    @property
    def task(self) -> Literal["classification"]:
        return "classification"

    @property
    def classes(self) -> Sequence[str]:
        return self.source.classes

    @property
    def n_classes(self) -> int:
        return self.source.n_classes

    def samples(self, class_index: int) -> int:
        """As the source says."""
        return self.source.samples(class_index)

    def take(self, class_index: int, indices: NDArray[np.int64]) -> Floats:
        """The source's samples, fitted."""
        return fit(self.source.take(class_index, indices), self.sample_shape)

    def blocks(self, class_index: int) -> NDArray[np.int64] | None:
        """As the source says."""
        return self.source.blocks(class_index) if isinstance(self.source, BlockedSource) else None


def fitted(source: ClassSource, shape: Sequence[int], place: str) -> ClassSource:
    """The source itself where its images have the shape already."""
    have, want = tuple(source.sample_shape), tuple(shape)
    if have == want:
        return source
    images = len(have) == len(want) == 3 and min(want) > 0
    if not images or (have[0] != want[0] and 1 not in (have[0], want[0])):
        raise SampleError(
            f"{place}: shape is {list(shape)} for samples of {list(have)}, expected channels, height and "
            "width, as many channels as they have or 1; correct it"
        )
    return Fitted(source, (want[0], want[1], want[2]))


def fit(x: Floats, shape: tuple[int, int, int]) -> Floats:
    """(n, channels, height, width) to another shape; a new pixel is the mean of what it covers.

    >>> fit(np.float32([[[[0, 1], [2, 3]]]]), (3, 1, 1)).tolist()
    [[[[1.5]], [[1.5]], [[1.5]]]]
    """
    channels, height, width = shape
    if x.shape[1] != channels:
        x = np.repeat(x.mean(1, keepdims=True), channels, axis=1)
    made: Floats = np.matmul(_covered(x.shape[2], height), x) @ _covered(x.shape[3], width).T
    return made


def _covered(old: int, new: int) -> Floats:
    """(new, old): which share of a new pixel each old one covers, along one side."""
    edges = np.arange(new + 1) * (old / new)
    pixels = np.arange(old)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    made: Floats = (overlap.clip(0) * (new / old)).astype(np.float32)
    return made
