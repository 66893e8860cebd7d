"""Sliding windows in ONNX: an input as each position of a kernel sees it.

Slices with a step are slow in onnxruntime, so with a stride an image is taken apart into its phases: those of
its pixels that lie at the same place relative to the stride.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from regrow.ops.schema import ints
from regrow.program import Op
from regrow_exporter.onnx_builder import OnnxBuilder, i64


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
            tuple(i * d for i, d in zip(index, self.dilation, strict=True))
            for index in np.ndindex(*self.kernel)
        ]


def windows_of(op: Op, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> Windows:
    """From the attributes of an op."""
    dilation = ints(op.attrs, "dilation") if "dilation" in op.attrs else (1, 1)
    stride, padding = ints(op.attrs, "stride"), ints(op.attrs, "padding")
    return Windows(tuple(size), tuple(out), tuple(kernel), stride, padding, dilation)


def taps(b: OnnxBuilder, source: str, w: Windows) -> list[str]:
    """The input, surrounded by zeros, as each kernel position sees it: (n, c, *out), row-major."""
    step = w.stride[0] if w.stride[0] == w.stride[1] and prod(w.kernel) > w.stride[0] else 1
    beyond = [p + -(s + 2 * p) % step for s, p in zip(w.size, w.padding, strict=True)]
    if any((*w.padding, *beyond)):
        source = b.node("Pad", source, i64(0, 0, *w.padding, 0, 0, *beyond))
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
