"""avg_pool2d and its gradient. x:(n,c,h,w)  y:(n,c,h',w'); `count_padding`: zeros of the border count."""

from collections.abc import Sequence

import numpy as np

from regrow.ops.pool import pool_shape
from regrow.ops.schema import Array, Attrs, OpSchema, ints
from regrow.program import Value


def _windows(x: Array, attrs: Attrs) -> Array:
    """(n, c, h', w', kh, kw) of the input with a border of zeros."""
    kernel, stride, padding = ints(attrs, "kernel"), ints(attrs, "stride"), ints(attrs, "padding")
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    view = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))
    return np.asarray(view[:, :, :: stride[0], :: stride[1]])


def counts(size: tuple[int, ...], attrs: Attrs) -> Array:
    """By how much each window's sum is divided: (1, 1, h', w')."""
    inside = _windows(np.ones((1, 1, *size)), attrs)
    kernel = ints(attrs, "kernel")
    return np.asarray(
        np.full(inside.shape[:4], float(np.prod(kernel))) if attrs["count_padding"] else inside.sum((4, 5))
    )


def avg_pool2d(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    x = inputs[0]
    return [_windows(x, attrs).sum((4, 5)) / counts(x.shape[2:], attrs)]


def avg_pool2d_back_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    return [Value((*values[0].shape[:2], *ints(attrs, "size")))]


def avg_pool2d_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy -> dx, of spatial `size`."""
    size, kernel = ints(attrs, "size"), ints(attrs, "kernel")
    stride, padding = ints(attrs, "stride"), ints(attrs, "padding")
    share = inputs[0] / counts(size, attrs)
    full = np.zeros((*share.shape[:2], size[0] + 2 * padding[0], size[1] + 2 * padding[1]))
    for i, j in np.ndindex(*kernel):
        rows = slice(i, i + stride[0] * (share.shape[2] - 1) + 1, stride[0])
        cols = slice(j, j + stride[1] * (share.shape[3] - 1) + 1, stride[1])
        full[:, :, rows, cols] += share
    return [full[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]]


OPS = {
    "avg_pool2d": OpSchema(pool_shape, avg_pool2d),
    "avg_pool2d_back": OpSchema(avg_pool2d_back_shape, avg_pool2d_back),
}
