"""max_pool2d: import, gradient, ONNX."""

from collections.abc import Mapping, Sequence

import numpy as np

from regrow.errors import UnsupportedError
from regrow.ops.schema import ints
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder, f32, i64
from regrow_exporter.ops.activation import gated
from regrow_exporter.ops.one_d import one_dimensional, pair
from regrow_exporter.ops.windows import put_back, taps, windows_of


def import_max_pool2d(context: Context, a: Arguments) -> str:
    if any(d != 1 for d in a["dilation"]):
        raise UnsupportedError("dilation in a max-pool; use dilation=1")
    return context.graph.one("max_pool2d", a["self"], **geometry(context, a))


def geometry(context: Context, a: Arguments) -> dict[str, tuple[int, ...]]:
    """Kernel, stride and padding of any pooling; ceil_mode where it changes nothing."""
    kernel, padding = pair(a["kernel_size"]), pair(a["padding"])
    stride = pair(a["stride"] or kernel)
    size = context.graph.shape(a["self"])[2:]
    left = [(s + 2 * p - k) % t for s, p, k, t in zip(size, padding, kernel, stride, strict=True)]
    if a["ceil_mode"] and any(left):
        raise UnsupportedError(
            f"ceil_mode with windows {kernel}, stride {stride} that do not end with the input {size}; "
            "set ceil_mode=False, or pad the input first"
        )
    return {"kernel": kernel, "stride": stride, "padding": padding}


def vjp_max_pool2d(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("max_pool2d_back", dys[0], op.inputs[0], op.outputs[0], **op.attrs)]


def emit_max_pool2d(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("MaxPool", *ins, **_attrs(op))]


def _attrs(op: Op) -> dict[str, list[int]]:
    kernel, stride, padding = (list(ints(op.attrs, k)) for k in ("kernel", "stride", "padding"))
    return {"kernel_shape": kernel, "strides": stride, "pads": padding * 2}


def emit_max_pool2d_back(
    b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]
) -> list[str]:
    kernel, stride, padding = (ints(op.attrs, k) for k in ("kernel", "stride", "padding"))
    x, y = values[op.inputs[1]].shape, values[op.inputs[0]].shape
    if kernel == stride == (2, 2) and not any(padding):
        return [_halves(b, ins, x, y)]
    if kernel == stride and x[2] == kernel[0] == 1 and not any(padding):
        return [_pieces(b, ins, kernel[1], x, y)]
    return [_tap_by_tap(b, ins, op, x, y)]


def _halves(b: OnnxBuilder, ins: Sequence[str], x: Sequence[int], y: Sequence[int]) -> str:
    """2x2 windows: number the winner, spread number and gradient back, keep where they meet.

    Ties are common (blank backgrounds, ReLU zeros), so the winner is the first of the window, as in torch.
    """
    dy, source, best = ins
    height, width = 2 * y[2], 2 * y[3]
    cropped = (height, width) != (x[2], x[3])
    if cropped:
        source = b.node("Slice", source, i64(0, 0), i64(height, width), i64(2, 3))
    taps = b.multi("Split", [b.node("SpaceToDepth", source, blocksize=2)], 4, axis=1, num_outputs=4)
    winner = b.const(f32(3))
    for number in (2, 1, 0):
        winner = b.node("Where", b.node("Equal", taps[number], best), f32(number), winner)
    position = np.tile(np.array([[0, 1], [2, 3]], np.float32), (y[2], y[3]))[None, None]
    here = b.node("Equal", enlarged(b, winner, (2, 2)), position)
    dx = b.node("Where", here, enlarged(b, dy, (2, 2)), f32(0))
    if cropped:
        dx = b.node("Pad", dx, i64(0, 0, 0, 0, 0, 0, x[2] - height, x[3] - width))
    return dx


def enlarged(b: OnnxBuilder, value: str, times: Sequence[int]) -> str:
    """Every element repeated so many times down and across."""
    return b.node(
        "Resize",
        value,
        "",
        np.array([1, 1, *times], np.float32),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _pieces(b: OnnxBuilder, ins: Sequence[str], width: int, x: Sequence[int], y: Sequence[int]) -> str:
    """Windows of a signal side by side: one row per place in the window, the first winner takes all."""
    dy, source, best = ins
    length = y[3] * width
    if length != x[3]:
        source = b.node("Slice", source, i64(0), i64(length), i64(3))
    rows = b.node("Transpose", b.node("Reshape", source, i64(-1, width)), perm=[1, 0])
    taps = b.multi("Split", [rows], width, axis=0, num_outputs=width)
    best, dy = (b.node("Reshape", value, i64(1, -1)) for value in (best, dy))
    winner = b.const(f32(width - 1))
    for place in reversed(range(width - 1)):
        winner = b.node("Where", b.node("Equal", taps[place], best), f32(place), winner)
    places = np.arange(width, dtype=np.float32)[:, None]
    dx = b.node("Where", b.node("Equal", winner, places), dy, f32(0))
    dx = b.node("Reshape", b.node("Transpose", dx, perm=[1, 0]), i64(-1, x[1], 1, length))
    return b.node("Pad", dx, i64(0, 0, 0, 0, 0, 0, 0, x[3] - length)) if length != x[3] else dx


def _tap_by_tap(b: OnnxBuilder, ins: Sequence[str], op: Op, x: Sequence[int], y: Sequence[int]) -> str:
    """Any geometry: each kernel position takes what is left of the gradient where it holds the maximum."""
    left, source, best = ins
    windows = windows_of(op, x[2:], y[2:], ints(op.attrs, "kernel"))
    *others, _ = taps(b, source, windows, border=-np.inf)
    parts = []
    for tap in others:
        parts.append(gated(b, left, b.node("Equal", tap, best)))
        left = b.node("Sub", left, parts[-1])
    return put_back(b, [*parts, left], windows)


_FLAT = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}
IMPORT = {
    "aten.max_pool2d.default": import_max_pool2d,
    "aten.max_pool1d.default": one_dimensional(import_max_pool2d, ("self",), _FLAT),
}
VJP = {"max_pool2d": vjp_max_pool2d}
ONNX = {"max_pool2d": emit_max_pool2d, "max_pool2d_back": emit_max_pool2d_back}
