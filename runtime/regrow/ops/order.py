"""The order of numbers. It carries no gradient."""

from collections.abc import Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, flag
from regrow.program import Value


def argsort_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    (x,) = values
    if not x.shape or x.shape[-1] < 0 or x.dtype == "bool":
        raise ValueError(f"argsort: {x.dtype}{x.shape}, expected numbers along a last axis of known size")
    return [Value(x.shape, "int64")]


def argsort(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """Where the smallest (or largest) of the last axis stand, in order; of equals the first comes first."""
    x = -inputs[0] if flag(attrs, "descending") else inputs[0]
    return [np.argsort(x, axis=-1, kind="stable").astype(np.int64)]


OPS = {"argsort": OpSchema(argsort_shape, argsort)}
