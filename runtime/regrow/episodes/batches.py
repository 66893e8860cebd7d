"""Put episodes of equal sizes side by side for a task-batched trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from regrow.episodes.source import Episode, Targets
from regrow.errors import SampleError


class Batch(NamedTuple):
    """T episodes. x: (T, items, *sample_shape); y: (T, items) or (T, items, 1)."""

    support_x: NDArray[np.float32]
    support_y: Targets
    query_x: NDArray[np.float32]
    query_y: Targets


def stack(episodes: Sequence[Episode]) -> Batch:
    """Stack along a new first axis."""
    shapes = {(e.support_x.shape, e.query_x.shape, e.support_y.dtype.str) for e in episodes}
    if len(shapes) != 1:
        raise SampleError(
            f"batch: {len(episodes)} episodes of {len(shapes)} different shapes, expected one or more of one "
            "shape; draw them with the same sizes from one source"
        )
    return Batch(
        np.stack([e.support_x for e in episodes]),
        np.stack([e.support_y for e in episodes]),
        np.stack([e.query_x for e in episodes]),
        np.stack([e.query_y for e in episodes]),
    )
