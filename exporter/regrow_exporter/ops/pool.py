"""max_pool2d: import, gradient, ONNX."""

from collections.abc import Mapping, Sequence

import numpy as np

from regrow.errors import UnsupportedError
from regrow.ops.schema import ints
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder, f32, i64


def import_max_pool2d(context: Context, a: Arguments) -> str:
    if a["ceil_mode"] or any(d != 1 for d in a["dilation"]):
        raise UnsupportedError("ceil_mode or dilation in a max-pool")
    kernel = _pair(a["kernel_size"])
    return context.graph.one(
        "max_pool2d",
        a["self"],
        kernel=kernel,
        stride=_pair(a["stride"] or kernel),
        padding=_pair(a["padding"]),
    )


def _pair(value: int | Sequence[int]) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * (2 // len(values))


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
    geometry = [ints(op.attrs, k) for k in ("kernel", "stride", "padding")]
    if geometry == [(2, 2), (2, 2), (0, 0)]:
        return [_halves(b, ins, values[op.inputs[1]].shape, values[op.inputs[0]].shape)]
    return [_scattered(b, ins, op)]


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
    here = b.node("Equal", _double(b, winner), position)
    dx = b.node("Where", here, _double(b, dy), f32(0))
    if cropped:
        dx = b.node("Pad", dx, i64(0, 0, 0, 0, 0, 0, x[2] - height, x[3] - width))
    return dx


def _double(b: OnnxBuilder, value: str) -> str:
    """Nearest-neighbour upsampling by two."""
    return b.node(
        "Resize",
        value,
        "",
        np.array([1, 1, 2, 2], np.float32),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _scattered(b: OnnxBuilder, ins: Sequence[str], op: Op) -> str:
    """Any geometry: the pool's own indices, gradients added where windows overlap."""
    dy, x, _ = ins
    _, index = b.multi("MaxPool", [x], 2, **_attrs(op))
    zeros = b.node("ConstantOfShape", b.node("Reshape", b.node("Size", x), i64(-1)))
    flat = [b.node("Reshape", value, i64(-1)) for value in (index, dy)]
    summed = b.node("ScatterElements", zeros, *flat, axis=0, reduction="add")
    return b.node("Reshape", summed, b.node("Shape", x))


IMPORT = {"aten.max_pool2d.default": import_max_pool2d}
VJP = {"max_pool2d": vjp_max_pool2d}
ONNX = {"max_pool2d": emit_max_pool2d, "max_pool2d_back": emit_max_pool2d_back}
