"""Comparisons, truth values, dtypes, and whole-number arithmetic. None of it carries a gradient.

Whole numbers count steps; their quotient and remainder round down, as Python's do.
"""

from collections.abc import Callable, Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, Forward, OpSchema, broadcast, same
from regrow.program import Value

_NUMPY = {"float32": np.float64, "int64": np.int64, "bool": np.bool_}


def cast_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    if attrs["dtype"] not in _NUMPY:
        raise ValueError(f"cast: to {attrs['dtype']}, expected one of {', '.join(_NUMPY)}")
    return [Value(values[0].shape, str(attrs["dtype"]))]


def cast(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """Floats become whole numbers by dropping the fraction, anything but zero becomes true."""
    return [inputs[0].astype(_NUMPY[str(attrs["dtype"])])]


def taken(inputs: Sequence[Array], outputs: Sequence[Array], attrs: Attrs) -> Array:
    """A truth value is the branch."""
    return outputs[0]


def _pairs(kind: str, function: Callable[[Array, Array], Array], takes: str, gives: str) -> OpSchema:
    """Two inputs of one dtype, one of `takes`."""

    def shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
        a, b = values
        if a.dtype != b.dtype or a.dtype not in takes.split():
            raise ValueError(f"{kind}: {a.dtype} and {b.dtype}, expected twice one of {takes}")
        return [Value(broadcast(a.shape, b.shape), gives)]

    forward: Forward = lambda inputs, _: [np.asarray(function(inputs[0], inputs[1]))]  # noqa: E731
    return OpSchema(shape, forward, taken if gives == "bool" else None)


OPS = {
    "cast": OpSchema(cast_shape, cast),
    "greater": _pairs("greater", np.greater, "float32 int64", "bool"),
    "greater_equal": _pairs("greater_equal", np.greater_equal, "float32 int64", "bool"),
    "equal": _pairs("equal", np.equal, "float32 int64", "bool"),
    "logical_and": _pairs("logical_and", np.logical_and, "bool", "bool"),
    "logical_or": _pairs("logical_or", np.logical_or, "bool", "bool"),
    "logical_not": OpSchema(same, lambda inputs, _: [np.logical_not(inputs[0])]),
    "floor_divide": _pairs("floor_divide", np.floor_divide, "int64", "int64"),
    "remainder": _pairs("remainder", np.remainder, "int64", "int64"),
}
