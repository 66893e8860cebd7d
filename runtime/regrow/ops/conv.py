"""conv2d and its two gradients. x:(n,c,h,w)  w:(o,c/groups,kh,kw)  y:(n,o,h',w')."""

from collections.abc import Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, ints
from regrow.program import Value


def _geometry(attrs: Attrs) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]:
    groups = attrs["groups"]
    return ints(attrs, "stride"), ints(attrs, "padding"), ints(attrs, "dilation"), int(str(groups))


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Extent of one spatial axis after the convolution."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def conv2d_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    x, w = values[0].shape, values[1].shape
    stride, padding, dilation, groups = _geometry(attrs)
    if x[1] != w[1] * groups:
        raise ValueError(f"conv2d: input has {x[1]} channels, weight {w} with groups={groups} wants another")
    size = tuple(output_size(x[i + 2], w[i + 2], stride[i], padding[i], dilation[i]) for i in (0, 1))
    if min(size) < 1:
        raise ValueError(f"conv2d: kernel {w[2:]} does not fit input {x[2:]}")
    return [Value((x[0], w[0], *size))]


def _windows(x: Array, kernel: tuple[int, ...], out: tuple[int, ...], attrs: Attrs) -> Array:
    """Patches (n, c, kh, kw, h', w') of the padded input; a view where it can be."""
    stride, padding, dilation, _ = _geometry(attrs)
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    n, c, h, w = padded.strides
    shape = (*padded.shape[:2], *kernel, *out)
    strides = (n, c, h * dilation[0], w * dilation[1], h * stride[0], w * stride[1])
    return np.lib.stride_tricks.as_strided(padded, shape, strides, writeable=False)


def conv2d(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    x, w = inputs[:2]
    groups = _geometry(attrs)[3]
    out = conv2d_shape([Value(x.shape), Value(w.shape)], attrs)[0].shape
    parts = [
        np.tensordot(_windows(xg, w.shape[2:], out[2:], attrs), wg, axes=([1, 2, 3], [1, 2, 3]))
        for xg, wg in zip(np.split(x, groups, 1), np.split(w, groups, 0), strict=True)
    ]
    y = np.concatenate(parts, axis=3).transpose(0, 3, 1, 2)
    return [y + inputs[2].reshape(1, -1, 1, 1) if len(inputs) > 2 else y]


def conv2d_dx_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    dy, w = values[0].shape, values[1].shape
    return [Value((dy[0], w[1] * _geometry(attrs)[3], *ints(attrs, "size")))]


def conv2d_dx(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    dy, w = inputs
    stride, padding, dilation, groups = _geometry(attrs)
    size = ints(attrs, "size")
    full = np.zeros((dy.shape[0], w.shape[1] * groups, size[0] + 2 * padding[0], size[1] + 2 * padding[1]))
    for g, (dyg, wg) in enumerate(zip(np.split(dy, groups, 1), np.split(w, groups, 0), strict=True)):
        channels = slice(g * w.shape[1], (g + 1) * w.shape[1])
        taps = np.tensordot(dyg, wg, axes=([1], [0]))  # (n, h', w', c, kh, kw)
        for i, j in np.ndindex(*w.shape[2:]):
            rows = slice(i * dilation[0], i * dilation[0] + stride[0] * (dy.shape[2] - 1) + 1, stride[0])
            cols = slice(j * dilation[1], j * dilation[1] + stride[1] * (dy.shape[3] - 1) + 1, stride[1])
            full[:, channels, rows, cols] += taps[..., i, j].transpose(0, 3, 1, 2)
    return [full[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]]


def conv2d_dw_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    dy, x = values[0].shape, values[1].shape
    return [Value((dy[1], x[1] // _geometry(attrs)[3], *ints(attrs, "kernel")))]


def conv2d_dw(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    dy, x = inputs
    groups = _geometry(attrs)[3]
    kernel = ints(attrs, "kernel")
    parts = [
        np.tensordot(dyg, _windows(xg, kernel, dy.shape[2:], attrs), axes=([0, 2, 3], [0, 4, 5]))
        for dyg, xg in zip(np.split(dy, groups, 1), np.split(x, groups, 1), strict=True)
    ]
    return [np.concatenate(parts, axis=0)]


OPS = {
    "conv2d": OpSchema(conv2d_shape, conv2d),
    "conv2d_dx": OpSchema(conv2d_dx_shape, conv2d_dx),
    "conv2d_dw": OpSchema(conv2d_dw_shape, conv2d_dw),
}
