"""Average pooling, plain and adaptive: import, gradient, ONNX."""

from collections.abc import Mapping, Sequence

import numpy as np

from regrow.errors import UnsupportedError
from regrow.ops.avg_pool import counts
from regrow.ops.schema import flag, ints
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Importer
from regrow_exporter.onnx_builder import OnnxBuilder, i64
from regrow_exporter.ops.one_d import one_dimensional
from regrow_exporter.ops.pool import geometry


def import_avg_pool2d(context: Context, a: Arguments) -> str:
    if a.get("divisor_override"):
        raise UnsupportedError("divisor_override; scale the result instead")
    counted = bool(a["count_include_pad"])
    return context.graph.one("avg_pool2d", a["self"], count_padding=counted, **geometry(context, a))


def import_adaptive_avg_pool2d(context: Context, a: Arguments) -> str:
    g, x, wanted = context.graph, a["self"], tuple(a["output_size"])
    size = g.shape(x)[2:]
    if any(s % w for s, w in zip(size, wanted, strict=True)):
        raise UnsupportedError(f"from {size} to {wanted}; choose an output size that divides the input's")
    if wanted == (1, 1):
        return g.one("reduce_mean", x, axes=(2, 3), keepdims=True)
    kernel = tuple(s // w for s, w in zip(size, wanted, strict=True))
    if kernel == (1, 1):
        return str(x)
    return g.one("avg_pool2d", x, kernel=kernel, stride=kernel, padding=(0, 0), count_padding=True)


def vjp_avg_pool2d(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [g.one("avg_pool2d_back", dys[0], size=g.shape(op.inputs[0])[2:], **op.attrs)]


def emit_avg_pool2d(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    kernel, stride, padding = (list(ints(op.attrs, k)) for k in ("kernel", "stride", "padding"))
    counted = flag(op.attrs, "count_padding")
    attrs = {"kernel_shape": kernel, "strides": stride, "pads": padding * 2, "count_include_pad": counted}
    return [b.node("AveragePool", ins[0], **attrs)]


def emit_avg_pool2d_back(
    b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]
) -> list[str]:
    dy, size = values[op.inputs[0]].shape, ints(op.attrs, "size")
    kernel, stride, padding = (ints(op.attrs, k) for k in ("kernel", "stride", "padding"))
    divisors = counts(size, op.attrs)
    if (divisors == divisors.flat[0]).all():
        divisors = divisors[:, :, :1, :1]
    share = b.node("Mul", ins[0], (1 / divisors).astype(np.float32))
    if kernel == stride and not any(padding):
        return [_repeated(b, share, [o * k for o, k in zip(dy[2:], kernel, strict=True)], kernel, size)]
    reached = [(o - 1) * s - 2 * p + k for o, s, p, k in zip(dy[2:], stride, padding, kernel, strict=True)]
    ones = np.ones((dy[1], 1, *kernel), np.float32)
    return [
        b.node("ConvTranspose", share, ones, group=dy[1], kernel_shape=list(kernel), strides=list(stride),
               pads=list(padding) * 2, output_padding=[s - r for s, r in zip(size, reached, strict=True)])
    ]  # fmt: skip


def _repeated(
    b: OnnxBuilder, share: str, covered: Sequence[int], kernel: Sequence[int], size: Sequence[int]
) -> str:
    """Windows side by side: every element of a window gets the same."""
    dx = _enlarged(b, share, kernel)
    beyond = [s - c for s, c in zip(size, covered, strict=True)]
    return b.node("Pad", dx, i64(0, 0, 0, 0, 0, 0, *beyond)) if any(beyond) else dx


def _enlarged(b: OnnxBuilder, value: str, times: Sequence[int]) -> str:
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


_FLAT = {"kernel_size": 1, "stride": 1, "padding": 0, "output_size": 1}
IMPORT: dict[str, Importer] = {
    "aten.avg_pool2d.default": import_avg_pool2d,
    "aten.avg_pool1d.default": one_dimensional(import_avg_pool2d, ("self",), _FLAT),
    "aten.adaptive_avg_pool2d.default": import_adaptive_avg_pool2d,
    "aten.adaptive_avg_pool1d.default": one_dimensional(import_adaptive_avg_pool2d, ("self",), _FLAT),
}
VJP = {"avg_pool2d": vjp_avg_pool2d}
ONNX = {"avg_pool2d": emit_avg_pool2d, "avg_pool2d_back": emit_avg_pool2d_back}
