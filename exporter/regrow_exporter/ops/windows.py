"""Sliding windows in ONNX: an input seen through each position of a kernel, and gradients put back there.

Slices with a step are slow in onnxruntime, so with a stride an image is taken apart into its phases: those of
its pixels that lie at the same place relative to the stride.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from regrow.ops.schema import ints
from regrow.program import Op
from regrow_exporter.onnx_builder import OnnxBuilder, f32, i64


@dataclass(frozen=True)
class Windows:
    """Where the windows of a convolution or a pool lie; `size` and `out` are heights and widths."""

    size: tuple[int, ...]
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...] = (1, 1)

    @property
    def area(self) -> int:
        return prod(self.out)

    @property
    def places(self) -> list[tuple[int, ...]]:
        """The offset of each kernel position, row-major."""
        return [
            tuple(i * d for i, d in zip(index, self.dilation, strict=True)) for index in np.ndindex(*self.kernel)
        ]


def windows_of(op: Op, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> Windows:
    """From the attributes of an op."""
    dilation = ints(op.attrs, "dilation") if "dilation" in op.attrs else (1, 1)
    stride, padding = ints(op.attrs, "stride"), ints(op.attrs, "padding")
    return Windows(tuple(size), tuple(out), tuple(kernel), stride, padding, dilation)


def taps(b: OnnxBuilder, source: str, w: Windows, border: float = 0.0) -> list[str]:
    """The input, surrounded by `border`, as each kernel position sees it: (n, c, *out), row-major."""
    step = w.stride[0] if w.stride[0] == w.stride[1] and prod(w.kernel) > w.stride[0] else 1
    beyond = [p + -(s + 2 * p) % step for s, p in zip(w.size, w.padding, strict=True)]
    if any((*w.padding, *beyond)):
        source = b.node("Pad", source, i64(0, 0, *w.padding, 0, 0, *beyond), f32(border))
    if w.kernel == (1, 1) and w.stride == (1, 1):
        return [source]
    phases = [source]
    if step > 1:
        apart = b.node("SpaceToDepth", source, blocksize=step)
        phases = b.multi("Split", [apart], step * step, axis=1, num_outputs=step * step)
    left = [s // step for s in w.stride]
    seen = []
    for at in w.places:
        start = [a // step for a in at]
        stop = [s + t * (o - 1) + 1 for s, t, o in zip(start, left, w.out, strict=True)]
        phase = phases[at[0] % step * step + at[1] % step]
        seen.append(b.node("Slice", phase, i64(*start), i64(*stop), i64(2, 3), i64(*left)))
    return seen


def put_back(b: OnnxBuilder, parts: Sequence[str], w: Windows) -> str:
    """The adjoint of `taps`: what each kernel position gives, added up where it came from."""
    whole = [s + 2 * p for s, p in zip(w.size, w.padding, strict=True)]
    rows = [-(-n // s) for n, s in zip(whole, w.stride, strict=True)]
    phases: dict[tuple[int, ...], str] = {}
    for at, part in zip(w.places, parts, strict=True):
        start = [a // s for a, s in zip(at, w.stride, strict=True)]
        rest = [r - o - a for r, o, a in zip(rows, w.out, start, strict=True)]
        part = b.node("Pad", part, i64(0, 0, *start, 0, 0, *rest)) if any((*start, *rest)) else part
        phase = (at[0] % w.stride[0], at[1] % w.stride[1])
        phases[phase] = b.node("Add", phases[phase], part) if phase in phases else part
    full = _interleaved(b, phases, w.stride, rows)
    begin = w.padding
    end = [p + s for p, s in zip(w.padding, w.size, strict=True)]
    if any(begin) or [r * s for r, s in zip(rows, w.stride, strict=True)] != end:
        full = b.node("Slice", full, i64(*begin), i64(*end), i64(2, 3))
    return full


def _interleaved(
    b: OnnxBuilder, phases: dict[tuple[int, ...], str], stride: Sequence[int], rows: Sequence[int]
) -> str:
    """One image of all phases, each of `rows` height and width; those that nothing reaches are zero."""
    if tuple(stride) == (1, 1):
        return phases[0, 0]
    ordered = [phases.get(phase) or _zeros(b, phases[0, 0]) for phase in np.ndindex(*stride)]
    if stride[0] == stride[1]:
        return b.node("DepthToSpace", b.node("Concat", *ordered, axis=1), blocksize=stride[0])
    # (n, c, rows, stride, columns, stride)
    cells = [b.node("Unsqueeze", phase, i64(3, 5)) for phase in ordered]
    lines = [_joined(b, cells[i : i + stride[1]], 5) for i in range(0, len(cells), stride[1])]
    size = [r * s for r, s in zip(rows, stride, strict=True)]
    return b.node("Reshape", _joined(b, lines, 3), i64(0, 0, *size))


def _joined(b: OnnxBuilder, values: Sequence[str], axis: int) -> str:
    return b.node("Concat", *values, axis=axis) if len(values) > 1 else values[0]


def _zeros(b: OnnxBuilder, like: str) -> str:
    return b.node("ConstantOfShape", b.node("Shape", like))
