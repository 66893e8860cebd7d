"""Values made from nothing, and spread: filled tensors, literal tensors, expansion.

A shape that depends on the batch takes it from one more input, whose first dimension is the batch.
"""

from collections.abc import Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, broadcast, ints, number
from regrow.program import Value


def _concrete(shape: tuple[int, ...], batch: Sequence[Array]) -> tuple[int, ...]:
    return tuple(d if d >= 0 else -d * len(batch[0]) for d in shape)


def _check(kind: str, shape: tuple[int, ...], batch: Sequence[Value]) -> None:
    if any(d < 0 for d in shape) and (not batch or batch[0].shape[0] != -1):
        raise ValueError(f"{kind}: {shape} depends on the batch, which no input tells")


def _dtype(attrs: Attrs) -> str:
    """Floats are computed in the precision of the run, and this one is the widest."""
    return "float64" if attrs["dtype"] == "float32" else str(attrs["dtype"])


def full_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    shape = ints(attrs, "shape")
    _check("full", shape, values)
    return [Value(shape, str(attrs["dtype"]))]


def full(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """[x for its batch] -> value everywhere."""
    return [np.full(_concrete(ints(attrs, "shape"), inputs), number(attrs, "value"), _dtype(attrs))]


def literal(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [np.array(attrs["values"], _dtype(attrs)).reshape(ints(attrs, "shape"))]


def literal_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    return [Value(ints(attrs, "shape"), str(attrs["dtype"]))]


def expand_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    shape = ints(attrs, "shape")
    _check("expand", shape, values[1:])
    if broadcast(values[0].shape, shape) != shape:
        raise ValueError(f"expand: {values[0].shape} does not expand to {shape}")
    return [Value(shape, values[0].dtype)]


def expand(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """x, [another for its batch] -> x repeated along axes of size 1."""
    return [np.broadcast_to(inputs[0], _concrete(ints(attrs, "shape"), inputs[1:]))]


OPS = {
    "full": OpSchema(full_shape, full),
    "literal": OpSchema(literal_shape, literal),
    "expand": OpSchema(expand_shape, expand),
}
