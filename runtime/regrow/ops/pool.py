"""max_pool2d and its gradient, which goes to the first maximum of each window, as torch does."""

from collections.abc import Sequence

import numpy as np

from regrow.ops.conv import output_size
from regrow.ops.schema import Array, Attrs, OpSchema, ints
from regrow.program import Value


def pool_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    x = values[0].shape
    kernel, stride, padding = ints(attrs, "kernel"), ints(attrs, "stride"), ints(attrs, "padding")
    size = tuple(output_size(x[i + 2], kernel[i], stride[i], padding[i], 1) for i in (0, 1))
    if min(size) < 1:
        raise ValueError(f"pooling: kernel {kernel} does not fit input {x[2:]}")
    return [Value((*x[:2], *size))]


def _windows(x: Array, attrs: Attrs) -> Array:
    """(n, c, h', w', kh*kw), the taps in row-major order; padding never wins."""
    kernel, stride, padding = ints(attrs, "kernel"), ints(attrs, "stride"), ints(attrs, "padding")
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)), constant_values=-np.inf)
    view = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))
    view = view[:, :, :: stride[0], :: stride[1]]
    return view.reshape(*view.shape[:4], -1)


def max_pool2d(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [_windows(inputs[0], attrs).max(-1)]


def winners(inputs: Sequence[Array], outputs: Sequence[Array], attrs: Attrs) -> Array:
    """Index of the winning tap per window."""
    return np.asarray(_windows(inputs[0], attrs).argmax(-1))


def max_pool2d_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy, x, y -> dx."""
    dy, x = inputs[:2]
    kernel, stride, padding = ints(attrs, "kernel"), ints(attrs, "stride"), ints(attrs, "padding")
    first = _windows(x, attrs).argmax(-1)
    n, c, h, w = np.indices(dy.shape)
    rows, cols = h * stride[0] + first // kernel[1], w * stride[1] + first % kernel[1]
    full = np.zeros((*x.shape[:2], x.shape[2] + 2 * padding[0], x.shape[3] + 2 * padding[1]), dy.dtype)
    np.add.at(full, (n, c, rows, cols), dy)
    return [full[:, :, padding[0] : padding[0] + x.shape[2], padding[1] : padding[1] + x.shape[3]]]


OPS = {
    "max_pool2d": OpSchema(pool_shape, max_pool2d, winners),
    "max_pool2d_back": OpSchema(lambda values, _: [Value(values[1].shape)], max_pool2d_back),
}
