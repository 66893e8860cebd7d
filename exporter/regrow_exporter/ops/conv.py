"""conv2d, and conv1d as one: import, gradients, ONNX."""

from collections.abc import Mapping, Sequence
from math import prod

from regrow.ops.schema import ints
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder, i64
from regrow_exporter.ops.one_d import one_dimensional, pair
from regrow_exporter.ops.padding import bordered
from regrow_exporter.ops.windows import Windows, taps, windows_of

# Up to so many input channels, a product per kernel position is too small for what it costs to begin one.
_THIN = 4
# What stacking the positions may take per sample.
_UNFOLD_BYTES = 4 << 20
# With no more output positions than this per filter, products of single samples write more than they read.
_ROOM = 4


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
    windows = windows_of(op, x[2:], dy[2:], kernel)
    if groups == dy[1] == x[1]:
        return [_dw_depthwise(b, ins[0], taps(b, ins[1], windows), dy[1], kernel)]
    if groups > 1:
        return [_dw_swapped(b, ins, op, dy, x)]
    if x[1] <= _THIN:
        return [_dw_thin(b, ins, windows, dy[1], x[1])]
    if windows.area <= _ROOM * dy[1]:
        return [_dw_samples_joined(b, ins, windows, dy[1])]
    return [_dw_per_sample(b, ins, windows, dy[1], x[1])]


def _dw_per_sample(b: OnnxBuilder, ins: Sequence[str], w: Windows, o: int, c: int) -> str:
    """A product per kernel position and sample, samples added up."""
    g, products = b.node("Reshape", ins[0], i64(0, o, -1)), []
    for tap in taps(b, ins[1], w):
        columns = b.node("Transpose", b.node("Reshape", tap, i64(0, c, -1)), perm=[0, 2, 1])
        products.append(b.node("ReduceSum", b.node("MatMul", g, columns), i64(0), keepdims=0))
    return _positions_last(b, products, w)


def _dw_samples_joined(b: OnnxBuilder, ins: Sequence[str], w: Windows, o: int) -> str:
    """A product per kernel position over the samples side by side, for a price of two transposes."""
    g = b.node("Reshape", b.node("Transpose", ins[0], perm=[1, 0, 2, 3]), i64(o, -1))
    seen = taps(b, b.node("Transpose", ins[1], perm=[1, 0, 2, 3]), w)
    products = [b.node("Gemm", g, b.node("Reshape", tap, i64(0, -1)), transB=1) for tap in seen]
    return _positions_last(b, products, w)


def _positions_last(b: OnnxBuilder, products: Sequence[str], w: Windows) -> str:
    stacked = b.node("Concat", *[b.node("Unsqueeze", p, i64(2, 3)) for p in products], axis=2)
    return b.node("Reshape", stacked, i64(0, 0, *w.kernel))


def _dw_thin(b: OnnxBuilder, ins: Sequence[str], w: Windows, o: int, c: int) -> str:
    """Few channels: kernel positions are stacked to make the products worth their while."""
    g = b.node("Transpose", b.node("Reshape", ins[0], i64(0, o, -1)), perm=[0, 2, 1])
    columns = [b.node("Reshape", tap, i64(0, c, -1)) for tap in taps(b, ins[1], w)]
    if prod(w.kernel) * c * w.area * 4 < _UNFOLD_BYTES:
        columns = [b.node("Concat", *columns, axis=1)]
    products = [b.node("ReduceSum", b.node("MatMul", rows, g), i64(0), keepdims=0) for rows in columns]
    product = b.node("Concat", *products, axis=0) if len(products) > 1 else products[0]
    return b.node("Transpose", b.node("Reshape", product, i64(*w.kernel, c, o)), perm=[3, 2, 0, 1])


def _dw_depthwise(b: OnnxBuilder, dy: str, seen: list[str], c: int, kernel: Sequence[int]) -> str:
    sums = [b.node("ReduceSum", b.node("Mul", dy, tap), i64(0, 2, 3), keepdims=0) for tap in seen]
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
