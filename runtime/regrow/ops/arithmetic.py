"""Elementwise arithmetic with broadcasting, constants, and selection."""

from collections.abc import Callable, Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, broadcast, number, same
from regrow.program import Value


def binary_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    return [Value(broadcast(values[0].shape, values[1].shape), values[0].dtype)]


def _binary(function: Callable[[Array, Array], Array]) -> OpSchema:
    return OpSchema(binary_shape, lambda inputs, _: [np.asarray(function(inputs[0], inputs[1]))])


def select_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    shape = broadcast(values[0].shape, broadcast(values[1].shape, values[2].shape))
    return [Value(shape, values[1].dtype)]


def select(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """mask, a, b -> a where mask else b. Never a product: inf * 0 is NaN."""
    return [np.where(inputs[0], inputs[1], inputs[2])]


OPS = {
    "add": _binary(np.add),
    "sub": _binary(np.subtract),
    "mul": _binary(np.multiply),
    "div": _binary(np.divide),
    "pow_tensor": _binary(np.power),
    "identity": OpSchema(same, lambda inputs, _: [inputs[0]]),
    "neg": OpSchema(same, lambda inputs, _: [-inputs[0]]),
    "constant": OpSchema(
        lambda values, _: [Value(())], lambda _, attrs: [np.asarray(number(attrs, "value"))]
    ),
    "select": OpSchema(select_shape, select),
}
