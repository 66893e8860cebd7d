"""max_pool2d: import, gradient, ONNX."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from regrow.errors import UnsupportedError
from regrow.ops.schema import ints
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder, f32, i64
from regrow_exporter.ops.activation import gated
from regrow_exporter.ops.one_d import one_dimensional, pair


def import_max_pool2d(context: Context, a: Arguments) -> str:
    if any(d != 1 for d in a["dilation"]):
        raise UnsupportedError("dilation in a max-pool; use dilation=1")
    return context.graph.one("max_pool2d", a["self"], **geometry(context, a))


def geometry(context: Context, a: Arguments) -> dict[str, tuple[int, ...]]:
    """Kernel, stride and padding of any pooling; ceil_mode where it changes nothing."""
    kernel, padding = pair(a["kernel_size"]), pair(a["padding"])
    stride = pair(a["stride"] or kernel)
    size = context.graph.shape(a["self"])[2:]
    if len(size) != 2:
        raise UnsupportedError("an image without a batch; give it (samples, channels, height, width)")
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
    """First which row of a window wins, then which of its columns.

    Ties are common (blank backgrounds, ReLU zeros), so the winner is the first of the window, as in torch.
    """
    x, y = values[op.inputs[1]].shape, values[op.inputs[0]].shape
    dy, source, best = ins
    kernel, stride, padding = (ints(op.attrs, k) for k in ("kernel", "stride", "padding"))
    tall, wide = (Line(*line) for line in zip(x[2:], y[2:], kernel, stride, padding, strict=True))
    if tall.kernel > 1 or tall.stride > 1:
        flat = {"kernel_shape": [1, kernel[1]], "strides": [1, stride[1]], "pads": [0, padding[1]] * 2}
        rows = b.node("MaxPool", source, **flat)
        dy, best = _line_back(b, dy, rows, best, tall, y[3]), rows
    # Columns, turned, are rows, which lie in one piece.
    dy, source, best = (b.node("Transpose", value, perm=[0, 1, 3, 2]) for value in (dy, source, best))
    return [b.node("Transpose", _line_back(b, dy, source, best, wide, x[2]), perm=[0, 1, 3, 2])]


class Line(NamedTuple):
    """Windows along one axis."""

    size: int
    out: int
    kernel: int
    stride: int
    padding: int

    @property
    def periods(self) -> int:
        """How many strides cover the padded axis."""
        return -(-(self.size + 2 * self.padding) // self.stride)


def _line_back(b: OnnxBuilder, dy: str, x: str, best: str, line: Line, width: int) -> str:
    """Windows over the rows of `x`: each takes what is left of the gradient where it holds the maximum."""
    parts, left = [], dy
    for tap in _line_taps(b, x, line, width)[:-1]:
        parts.append(gated(b, left, b.node("Equal", tap, best)))
        left = b.node("Sub", left, parts[-1])
    phases: dict[int, str] = {}
    for i, part in enumerate([*parts, left]):
        start, phase = divmod(i, line.stride)
        after = line.periods - line.out - start
        part = b.node("Pad", part, i64(0, 0, start, 0, 0, 0, after, 0)) if start or after else part
        phases[phase] = b.node("Add", phases[phase], part) if phase in phases else part
    zeros = "" if len(phases) == line.stride else b.node("ConstantOfShape", b.node("Shape", phases[0]))
    full = phases[0]
    if line.stride > 1:
        joined = b.node("Concat", *[phases.get(i, zeros) for i in range(line.stride)], axis=3)
        full = b.node("Reshape", joined, i64(0, 0, line.periods * line.stride, width))
    if line.periods * line.stride == line.size:
        return full
    return b.node("Slice", full, i64(line.padding), i64(line.padding + line.size), i64(2))


def _line_taps(b: OnnxBuilder, x: str, line: Line, width: int) -> list[str]:
    """The rows that each place in the window sees; beyond the border lies what never wins."""
    after = line.periods * line.stride - line.size - line.padding
    if line.padding or after:
        x = b.node("Pad", x, i64(0, 0, line.padding, 0, 0, 0, after, 0), f32(-np.inf))
    phases = [x]
    if line.stride > 1:
        periods = b.node("Reshape", x, i64(0, 0, line.periods, line.stride * width))
        phases = b.multi("Split", [periods], line.stride, axis=3, num_outputs=line.stride)
    places = [(phases[i % line.stride], i // line.stride) for i in range(line.kernel)]
    if line.out == line.periods:
        return [phase for phase, _ in places]
    return [b.node("Slice", phase, i64(at), i64(at + line.out), i64(2)) for phase, at in places]


_FLAT = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}
IMPORT = {
    "aten.max_pool2d.default": import_max_pool2d,
    "aten.max_pool1d.default": one_dimensional(import_max_pool2d, ("self",), _FLAT),
}
VJP = {"max_pool2d": vjp_max_pool2d}
ONNX = {"max_pool2d": emit_max_pool2d, "max_pool2d_back": emit_max_pool2d_back}
