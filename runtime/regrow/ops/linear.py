"""linear and matrix products, plain and batched. x:(n,d)  w:(c,d)  b:(c,)  y:(n,c)."""

from collections.abc import Sequence

from regrow.ops.schema import Array, Attrs, OpSchema, broadcast
from regrow.program import Value


def linear_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    x, w = values[0].shape, values[1].shape
    if x[-1] != w[1]:
        raise ValueError(f"linear: input {x} and weight {w} disagree in the last dimension")
    return [Value((*x[:-1], w[0]))]


def linear(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    y = inputs[0] @ inputs[1].T
    return [y + inputs[2] if len(inputs) > 2 else y]


def matmul_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    a = values[0].shape[::-1] if attrs["transpose_a"] else values[0].shape
    b = values[1].shape[::-1] if attrs["transpose_b"] else values[1].shape
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        raise ValueError(f"matmul: {a} x {b}")
    return [Value((a[0], b[1]))]


def matmul(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    a = inputs[0].T if attrs["transpose_a"] else inputs[0]
    b = inputs[1].T if attrs["transpose_b"] else inputs[1]
    return [a @ b]


def batch_matmul_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    a, b = values[0].shape, values[1].shape
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise ValueError(f"batch_matmul: {a} x {b}")
    return [Value((*broadcast(a[:-2], b[:-2]), a[-2], b[-1]))]


def batch_matmul(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """(..., m, k), (..., k, n) -> (..., m, n); the leading dimensions broadcast."""
    return [inputs[0] @ inputs[1]]


OPS = {
    "linear": OpSchema(linear_shape, linear),
    "matmul": OpSchema(matmul_shape, matmul),
    "batch_matmul": OpSchema(batch_matmul_shape, batch_matmul),
}
