"""Two-dimensional convolution as three bilinear maps, each of which has the others as derivatives.

    y = forward(x, w)    gx = to_input(g, w)    gw = to_weight(g, x)

So derivatives of any order are made of these three. Composed by torch, the second derivative convolves with
images as kernels, which its library does slowly. Mapped over tasks, the tasks become groups.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from regrow_trainer.kernels.apply import Mapped, apply

_LAST = torch.channels_last


class Geometry(NamedTuple):
    """How the kernel moves; `groups` as torch counts them."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    """As torch's, inside a map; None for a padding given in words and for a single image."""
    if isinstance(padding, str) or x.dim() != 4:
        return None
    geometry = Geometry(_pair(stride), _pair(padding), _pair(dilation), groups)
    made: Tensor = apply(OverTasks, x, weight, bias, geometry)
    return made


def _pair(value: Any) -> tuple[int, int]:
    both = (value, value) if isinstance(value, int) else tuple(value)
    return (both[0], both[-1])


class OverTasks(Mapped):
    """Every task's own images under its own kernels: tasks become groups."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        x, w, bias, geometry = args
        count = info.batch_size
        own = geometry._replace(groups=geometry.groups * count)
        bias = None if bias is None else _front(bias, in_dims[2], count).flatten(0, 1)
        x, w = _images(x, in_dims[0], count), _kernels(w, in_dims[1], count)
        made = apply(Forward, x, w, bias, own)
        return made.unflatten(1, (count, -1)), 1


class Forward(Function):
    """y = x * w + b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.geometry = geometry
        return torch.conv2d(x, w, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        needs_x, needs_w, needs_bias, _ = ctx.needs_input_grad
        g = g.contiguous(memory_format=_LAST)
        gx = apply(ToInput, g, w, x.shape, ctx.geometry) if needs_x else None
        gw = apply(ToWeight, g, x, w.shape, ctx.geometry) if needs_w else None
        return gx, gw, g.sum((0, 2, 3)) if needs_bias else None, None


class ToInput(Function):
    """The derivative's way back through the weights: from what y is to what x is."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, w: Tensor, shape: tuple[int, ...], geometry: Geometry) -> Tensor:
        ctx.save_for_backward(g, w)
        ctx.geometry = geometry
        x = torch.empty(shape, dtype=g.dtype, device=g.device, memory_format=_LAST)
        return _backward(g, x, w, geometry, (True, False, False))[0]

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        g, w = ctx.saved_tensors
        v = v.contiguous(memory_format=_LAST)
        gg = apply(Forward, v, w, None, ctx.geometry) if ctx.needs_input_grad[0] else None
        gw = apply(ToWeight, g, v, w.shape, ctx.geometry) if ctx.needs_input_grad[1] else None
        return gg, gw, None, None


class ToWeight(Function):
    """What the kernel's derivative gathers from g and x."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, shape: tuple[int, ...], geometry: Geometry) -> Tensor:
        ctx.save_for_backward(g, x)
        ctx.geometry = geometry
        w = torch.empty(shape, dtype=g.dtype, device=g.device, memory_format=_LAST)
        return _backward(g, x, w, geometry, (False, True, False))[1]

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        g, x = ctx.saved_tensors
        gg = apply(Forward, x, v, None, ctx.geometry) if ctx.needs_input_grad[0] else None
        gx = apply(ToInput, g, v, x.shape, ctx.geometry) if ctx.needs_input_grad[1] else None
        return gg, gx, None, None


def _backward(
    g: Tensor, x: Tensor, w: Tensor, geometry: Geometry, which: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor]:
    """torch's own first derivatives; what is not asked for is not computed, nor its operand read."""
    stride, padding, dilation, groups = geometry
    made: tuple[Tensor, Tensor] = torch.ops.aten.convolution_backward(
        g, x, w, None, stride, padding, dilation, False, (0, 0), groups, which
    )[:2]
    return made


def _front(t: Tensor, dim: int | None, count: int) -> Tensor:
    """The tasks first; what all of them share is repeated without a copy."""
    return t.expand(count, *t.shape) if dim is None else t.movedim(dim, 0)


def _images(x: Tensor, dim: int | None, count: int) -> Tensor:
    """(images, tasks * channels, height, width), channels last."""
    moved = _front(x, dim, count).movedim(0, 1)
    return moved.flatten(1, 2).contiguous(memory_format=_LAST)


def _kernels(w: Tensor, dim: int | None, count: int) -> Tensor:
    """(tasks * outputs, channels, height, width), channels last."""
    return _front(w, dim, count).flatten(0, 1).contiguous(memory_format=_LAST)
