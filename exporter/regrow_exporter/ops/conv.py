"""conv2d, and conv1d as one: import, gradients, ONNX."""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from regrow.ops.schema import ints
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder, i64
from regrow_exporter.ops.one_d import one_dimensional, pair
from regrow_exporter.ops.padding import bordered

# Below this, unfolding the input of a weight gradient beats one product per tap (measured, CPU, one thread).
_UNFOLD_BYTES = 4 << 20


def import_conv2d(context: Context, a: Arguments) -> str:
    g, x, weight = context.graph, a["input"], a["weight"]
    strides = {k: pair(a[k]) for k in ("stride", "dilation")}
    padding = (0, 0) if a["padding"] == "valid" else a["padding"]
    if padding == "same":
        x, padding = _same(g, x, g.shape(weight)[2:], strides["dilation"])
    inputs = [x, weight, *([a["bias"]] if a["bias"] else [])]
    return g.one("conv2d", *inputs, groups=a["groups"], padding=pair(padding), **strides)


def _same(g: Graph, x: str, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """The input and the padding with which the output is as large; an odd rest goes to the far side."""
    whole = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    for axis, size in enumerate(whole):
        x = bordered(g, x, axis + 2, 0, size % 2)
    return x, tuple(size // 2 for size in whole)


def vjp_conv2d(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    x, w = op.inputs[:2]
    dy, attrs = dys[0], dict(op.attrs)
    dx = dw = ""
    if need[0]:
        dx = g.one("conv2d_dx", dy, w, size=g.shape(x)[2:], **attrs)
    if need[1]:
        dw = g.one("conv2d_dw", dy, x, kernel=g.shape(w)[2:], **attrs)
    grads = [dx, dw]
    if len(op.inputs) > 2:
        grads.append(g.one("reduce_sum", dy, axes=(0, 2, 3), keepdims=False) if need[2] else "")
    return grads


def _attrs(op: Op, kernel: Sequence[int]) -> dict[str, object]:
    return {
        "kernel_shape": list(kernel),
        "strides": list(ints(op.attrs, "stride")),
        "pads": list(ints(op.attrs, "padding")) * 2,
        "dilations": list(ints(op.attrs, "dilation")),
        "group": op.attrs["groups"],
    }


def emit_conv2d(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Conv", *ins, **_attrs(op, values[op.inputs[1]].shape[2:]))]


def emit_conv2d_dx(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    out, kernel = values[op.inputs[0]].shape[2:], values[op.inputs[1]].shape[2:]
    stride, padding, dilation = (ints(op.attrs, k) for k in ("stride", "padding", "dilation"))
    reached = [(o - 1) * s - 2 * p + d * (k - 1) + 1 for o, s, p, d, k in
               zip(out, stride, padding, dilation, kernel, strict=True)]  # fmt: skip
    extra = [size - r for size, r in zip(ints(op.attrs, "size"), reached, strict=True)]
    return [b.node("ConvTranspose", *ins, output_padding=extra, **_attrs(op, kernel))]


def emit_conv2d_dw(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    dy, x = (values[name].shape for name in op.inputs)
    groups, kernel = int(str(op.attrs["groups"])), ints(op.attrs, "kernel")
    if groups == dy[1] == x[1]:
        return [_dw_depthwise(b, ins[0], _taps(b, ins[1], op, x[2:], dy, kernel), dy[1], kernel)]
    if groups > 1:
        return [_dw_swapped(b, ins, op, dy, x)]
    taps = [b.node("Reshape", tap, i64(0, x[1], -1)) for tap in _taps(b, ins[1], op, x[2:], dy, kernel)]
    g = b.node("Reshape", ins[0], i64(0, dy[1], -1))
    area = prod(dy[2:])
    if dy[1] > area:
        return [_dw_gemm(b, g, taps, dy[1], x[1], kernel)]
    if prod(kernel) * x[1] * area * 4 < _UNFOLD_BYTES:
        return [_dw_unfolded(b, g, taps, dy[1], x[1], kernel)]
    return [_dw_per_tap(b, g, taps, dy[1], x[1], kernel)]


def _taps(
    b: OnnxBuilder, source: str, op: Op, size: Sequence[int], dy: Sequence[int], kernel: Sequence[int]
) -> list[str]:
    """The padded input, of spatial `size` before, seen through each kernel position, row-major."""
    stride, padding, dilation = (ints(op.attrs, k) for k in ("stride", "padding", "dilation"))
    step = stride[0] if stride[0] == stride[1] and prod(kernel) > stride[0] else 1
    # Slices with a step are slow, so with one the input is first taken apart into its phases.
    beyond = [p + -(s + 2 * p) % step for s, p in zip(size, padding, strict=True)]
    if any((*padding, *beyond)):
        source = b.node("Pad", source, i64(0, 0, *padding, 0, 0, *beyond))
    if tuple(kernel) == (1, 1) and stride == (1, 1):
        return [source]
    phases = [source]
    if step > 1:
        apart = b.node("SpaceToDepth", source, blocksize=step)
        phases = b.multi("Split", [apart], step * step, axis=1, num_outputs=step * step)
    left = [s // step for s in stride]
    taps = []
    for index in np.ndindex(*kernel):
        at = [i * d for i, d in zip(index, dilation, strict=True)]
        phase = phases[at[0] % step * step + at[1] % step]
        start = [a // step for a in at]
        stop = [s + t * (o - 1) + 1 for s, t, o in zip(start, left, dy[2:], strict=True)]
        taps.append(b.node("Slice", phase, i64(*start), i64(*stop), i64(2, 3), i64(*left)))
    return taps


def _dw_unfolded(b: OnnxBuilder, g: str, taps: list[str], o: int, c: int, kernel: Sequence[int]) -> str:
    columns = b.node("Concat", *taps, axis=1)
    product = b.node("MatMul", g, b.node("Transpose", columns, perm=[0, 2, 1]))
    return _taps_last(b, b.node("ReduceSum", product, i64(0), keepdims=0), o, c, kernel)


def _dw_gemm(b: OnnxBuilder, g: str, taps: list[str], o: int, c: int, kernel: Sequence[int]) -> str:
    # With more filters than positions the batched product would hold o*c*k*k floats per sample.
    columns = b.node("Transpose", b.node("Concat", *taps, axis=1), perm=[1, 0, 2])
    rows = b.node("Transpose", g, perm=[1, 0, 2])
    flat = b.node("Reshape", columns, i64(prod(kernel) * c, -1))
    return _taps_last(b, b.node("Gemm", b.node("Reshape", rows, i64(o, -1)), flat, transB=1), o, c, kernel)


def _taps_last(b: OnnxBuilder, product: str, o: int, c: int, kernel: Sequence[int]) -> str:
    return b.node("Transpose", b.node("Reshape", product, i64(o, *kernel, c)), perm=[0, 3, 1, 2])


def _dw_per_tap(b: OnnxBuilder, g: str, taps: list[str], o: int, c: int, kernel: Sequence[int]) -> str:
    parts = []
    for tap in taps:
        product = b.node("MatMul", g, b.node("Transpose", tap, perm=[0, 2, 1]))
        parts.append(b.node("Unsqueeze", b.node("ReduceSum", product, i64(0), keepdims=0), i64(2)))
    return b.node("Reshape", b.node("Concat", *parts, axis=2), i64(o, c, *kernel))


def _dw_depthwise(b: OnnxBuilder, dy: str, taps: list[str], c: int, kernel: Sequence[int]) -> str:
    sums = [b.node("ReduceSum", b.node("Mul", dy, tap), i64(0, 2, 3), keepdims=0) for tap in taps]
    stacked = b.node("Concat", *[b.node("Unsqueeze", s, i64(1)) for s in sums], axis=1)
    return b.node("Reshape", stacked, i64(c, 1, *kernel))


def _dw_swapped(b: OnnxBuilder, ins: Sequence[str], op: Op, dy: Sequence[int], x: Sequence[int]) -> str:
    """A convolution of the input by the output gradient, batch and channels swapped, one per group."""
    groups, kernel = int(str(op.attrs["groups"])), ints(op.attrs, "kernel")
    stride, padding, dilation = (ints(op.attrs, k) for k in ("stride", "padding", "dilation"))
    width = x[1] // groups
    grouped = b.node("Reshape", ins[1], i64(-1, groups, width, *x[2:]))
    rows = b.node("Reshape", b.node("Transpose", grouped, perm=[2, 1, 0, 3, 4]), i64(width, -1, *x[2:]))
    filters = b.node("Transpose", ins[0], perm=[1, 0, 2, 3])
    wide = b.node("Conv", rows, filters, kernel_shape=list(dy[2:]), strides=list(dilation),
                  dilations=list(stride), pads=list(padding) * 2, group=groups)  # fmt: skip
    # Strides that do not divide the input leave extra positions behind the kernel.
    wide = b.node("Slice", wide, i64(0, 0), i64(*kernel), i64(2, 3))
    return b.node("Transpose", wide, perm=[1, 0, 2, 3])


_import_conv1d = one_dimensional(
    import_conv2d, ("input", "weight"), {"stride": 1, "padding": 0, "dilation": 1}
)
IMPORT = {
    "aten.conv2d.default": import_conv2d,
    "aten.conv2d.padding": import_conv2d,
    "aten.conv1d.default": _import_conv1d,
    "aten.conv1d.padding": _import_conv1d,
}
VJP = {"conv2d": vjp_conv2d}
ONNX = {"conv2d": emit_conv2d, "conv2d_dx": emit_conv2d_dx, "conv2d_dw": emit_conv2d_dw}
