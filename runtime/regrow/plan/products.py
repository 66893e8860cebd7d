"""Lowering of products of matrices in plain layout: by strides, nothing is transposed in memory."""

from __future__ import annotations

from collections.abc import Sequence

from regrow.plan.builder import Buffer, Builder, maybe, strides
from regrow.plan.pointwise import collapsed
from regrow.program import Op

Strides2 = tuple[int, int]


def _gemm(
    b: Builder,
    y: Buffer,
    left: tuple[Buffer, Strides2],
    right: tuple[Buffer, Strides2],
    bias: Buffer | None,
    size: tuple[int, int, int],
    batch: tuple[Sequence[int], Sequence[int], Sequence[int]] = ((1,), (0,), (0,)),
) -> None:
    sizes, (sa, sb) = collapsed(batch[0], batch[1], batch[2])
    tail = (len(sizes), *sizes, *sa, *sb)
    extra = [] if bias is None else [bias]
    words = (y, left[0], right[0], *maybe(extra), *size, *left[1], *right[1], *tail)
    b.emit("gemm", words, (left[0], right[0], *extra), (y,))


def lower_linear(b: Builder, op: Op) -> None:
    x, w = b.plain(op.inputs[0]), b.weight(op.inputs[1])
    bias = [b.plain(name) for name in op.inputs[2:]]
    y = b.new(op.outputs[0])
    c, d = b.shape(op.inputs[1])
    _gemm(b, y, (x, (d, 1)), (w, (1, d)), bias[0] if bias else None, (b.size(op.inputs[0]) // d, d, c))


def lower_matmul(b: Builder, op: Op) -> None:
    x, w = b.plain(op.inputs[0]), b.weight(op.inputs[1])
    (am, an), (bm, bn) = (b.shape(name) for name in op.inputs)
    left = (1, an) if op.attrs["transpose_a"] else (an, 1)
    right = (1, bn) if op.attrs["transpose_b"] else (bn, 1)
    m, k = (an, am) if op.attrs["transpose_a"] else (am, an)
    y = b.new(op.outputs[0])
    _gemm(b, y, (x, left), (w, right), None, (m, k, bm if op.attrs["transpose_b"] else bn))


def lower_batch_matmul(b: Builder, op: Op) -> None:
    shapes = [b.shape(name) for name in op.inputs]
    x, w = (b.plain(name) for name in op.inputs)
    out = b.shape(op.outputs[0])
    m, k, n = shapes[0][-2], shapes[0][-1], shapes[1][-1]
    steps = []
    for shape in shapes:
        own = strides(shape)[:-2]
        lead = (0,) * (len(out) - len(shape))
        steps.append(lead + tuple(0 if d == 1 else s for d, s in zip(shape[:-2], own, strict=True)))
    y = b.new(op.outputs[0])
    _gemm(b, y, (x, (k, 1)), (w, (n, 1)), None, (m, k, n), (out[:-2], steps[0], steps[1]))
