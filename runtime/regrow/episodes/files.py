"""A class source over a person's own samples: `files:PATH`, anything `load_samples` reads with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from regrow.episodes.readers import load_samples
from regrow.errors import SampleError


@dataclass(frozen=True)
class Arrays:
    """A class source over arrays in memory: data[i] holds the samples of classes[i], float32 or uint8."""

    classes: Sequence[str]
    data: Sequence[NDArray[np.float32 | np.uint8]]

    @property
    def task(self) -> Literal["classification"]:
        return "classification"

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.data[0].shape[1:]

    def samples(self, class_index: int) -> int:
        return len(self.data[class_index])

    def take(self, class_index: int, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """The named samples as float32; bytes become 0 .. 1."""
        x = self.data[class_index][indices]
        return x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x.astype(np.float32)


def files(path: str, *, shape: Sequence[int] | None = None, invert: bool = False) -> Arrays:
    """Open a labelled file or folder as a class source; classes stand in the order of their names."""
    if not path:
        raise SampleError("source 'files': no path; write files:PATH")
    x, labels, _ = load_samples(path, shape, invert=invert)
    if not isinstance(labels, list):
        raise SampleError(f"{path}: labels are numbers to fit, expected classes; use whole numbers or texts")
    keys: list[int | str] = [*labels]
    order = sorted(set(keys), key=lambda key: (isinstance(key, str), key))  # 2 before 10
    at = np.array([order.index(key) for key in keys])
    return Arrays([str(key) for key in order], [x[at == i] for i in range(len(order))])
