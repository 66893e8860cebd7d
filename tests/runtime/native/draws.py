"""Random shapes and arrays, and what a case is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rng = np.random.Generator
Case = tuple[list[Array], dict[str, Any]]
Draw = Callable[[Rng], Case]


def sizes(rng: Rng, rank: int, top: int = 7) -> tuple[int, ...]:
    """A shape; one axis in three has size one."""
    return tuple(1 if rng.random() < 1 / 3 else int(rng.integers(1, top)) for _ in range(rank))


def floats(rng: Rng, shape: tuple[int, ...]) -> Array:
    return np.asarray(rng.normal(size=shape), np.float32)
