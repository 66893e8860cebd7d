"""Batch norm by the batch's own statistics, with first and second derivatives written out.

With n rows, h = (x - mean) * r, r = 1 / sqrt(var + eps), and P(u) = u - mean(u) - h * mean(u * h):

    y = w * h + b      gx = w * r * P(g)      gw = sum(g * h)      gb = sum(g)

For v, vw, vb, what the outer loss makes of gx, gw, gb, the second derivative gives

    to g:  w * r * P(v) + vw * h + vb
    to w:  r * S,  S = sum(v * P(g))
    to x:  r * P(a * v + c * g) - w * r^2 * S / n * h

with a = -w * r * mean(g * h) and c = vw - w * r * mean(v * h). P is symmetric. Composed by torch, the same
takes some forty passes over the values; here it takes ten.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from regrow_trainer.kernels.apply import Mapped, apply


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor | None:
    """As torch's, inside a map; None for running statistics and for a norm without weight and bias."""
    if running_mean is not None or running_var is not None or weight is None or bias is None:
        return None
    made: Tensor = apply(OverTasks, x, weight, bias, eps)
    return made


class OverTasks(Mapped):
    """Tasks become further channels."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        x, w, b, eps = args
        count = info.batch_size
        x = (x.expand(count, *x.shape) if in_dims[0] is None else x.movedim(in_dims[0], 0)).movedim(0, 1)
        w, b = (
            (t.expand(count, *t.shape) if dim is None else t.movedim(dim, 0)).flatten()
            for t, dim in zip((w, b), in_dims[1:3], strict=True)
        )
        y = apply(Normed, x.flatten(1, 2), w, b, eps)
        return y.unflatten(1, (count, -1)), 1


class Normed(Function):
    """y of (rows, channels, ...)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor, eps: float) -> Tensor:
        rows = _rows(x)
        centred = rows - rows.mean(0)
        r = torch.rsqrt((centred * centred).mean(0) + eps)
        h = centred.mul_(r)
        # x is kept for the second derivative alone, which belongs to it and not to h.
        ctx.save_for_backward(x, w, h, r)
        return _like(torch.addcmul(_wide(b), h, _wide(w)), x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return (*apply(Back, g, *ctx.saved_tensors), None)


class Back(Function):
    """gx, gw, gb."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, w: Tensor, h: Tensor, r: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = _rows(g)
        count = len(rows)
        gb, gw = rows.sum(0), (rows * h).sum(0)
        wr = _wide(w) * r
        gx = torch.addcmul(wr * gb / -count, h, wr * gw / -count).addcmul_(rows, wr)
        ctx.save_for_backward(g, w, h, r, gw, gb)
        return _like(gx, x), gw.to(w.dtype), gb.to(w.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor, vw: Tensor, vb: Tensor) -> tuple[Tensor | None, ...]:
        g, w, h, r, gw, gb = ctx.saved_tensors
        vw, vb, to, back = _wide(vw), _wide(vb), _rows(v), _rows(g)
        count = len(back)
        mean_v, along_v = to.sum(0) / count, (to * h).sum(0) / count
        mean_g, along_g = gb / count, gw / count
        s = (to * back).sum(0) - count * (mean_v * mean_g + along_v * along_g)
        wr = _wide(w) * r
        a, c = -wr * along_g, vw - wr * along_v
        to_g = torch.addcmul(vb - wr * mean_v, h, c).addcmul_(to, wr)
        slope = -r * (a * along_v + c * along_g) - wr * r * s / count
        to_x = torch.addcmul(-r * (a * mean_v + c * mean_g), h, slope)
        to_x.addcmul_(to, r * a).addcmul_(back, r * c)
        return _like(to_g, g), _like(to_x, g), (r * s).to(w.dtype), None, None


def _rows(x: Tensor) -> Tensor:
    """(rows, channels): every position of every image is one."""
    return _wide(x.movedim(1, -1).reshape(-1, x.shape[1]))


def _wide(t: Tensor) -> Tensor:
    """Statistics are sums over many values: never in half of the bits."""
    return t.float() if t.dtype == torch.bfloat16 else t


def _like(rows: Tensor, x: Tensor) -> Tensor:
    """The way back, channels last."""
    return rows.to(x.dtype).view(x.shape[0], *x.shape[2:], x.shape[1]).movedim(-1, 1)
