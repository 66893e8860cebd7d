"""What enters a layer, as the columns its weights are multiplied with: patches for a convolution.

Large maps give more patches than a curvature needs; then some places are drawn, others in every sample and
the same on every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regrow.episodes.draws import Draws
from regrow.errors import UnsupportedError
from regrow_trainer.learner import Learner, Task
from regrow_trainer.rules.layers import norms, owners
from regrow_trainer.tensors import Tensors

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


class Layer(NamedTuple):
    """A layer whose weight is to be judged; `bias` is "" where there is none to move.

    A norm behind the layer takes any shift away, so a shift costs nothing there and no bias has to carry it.
    Either way a constant is among the inputs.

    A wide layer is judged in blocks: `cuts` is where one ends and the next begins. Inputs of different blocks
    count as unrelated, and every block has the constant.
    """

    place: str
    weight: str
    bias: str
    groups: int
    cuts: tuple[int, ...]  # 0, ..., columns of a group, without the constant
    constant: bool

    @property
    def width(self) -> int:
        """Columns of a group, the constant included."""
        return self.cuts[-1] + self.constant


def layer_of(module: nn.Module, weight: str, block: int = 0) -> Layer:
    """The layer that a weight belongs to, in blocks of at most about `block` columns, whole where it is 0."""
    place = weight.rpartition(".")[0]
    owner = module.get_submodule(place)
    padded = getattr(owner, "padding_mode", "zeros") != "zeros" or isinstance(
        getattr(owner, "padding", 0), str
    )
    if not isinstance(owner, (*_CONVOLUTIONS, nn.Linear)) or padded:
        raise UnsupportedError(
            f"prune: {weight} belongs to a {type(owner).__name__}, expected a linear layer or a convolution "
            "padded by a number of zeros; use magnitude, fisher or taylor"
        )
    shape = owner.weight.shape
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    belongs = owners(shapes)
    normed = weight in {belongs[name] for name in norms(shapes)}
    bias = f"{place}.bias" if owner.bias is not None and not normed else ""
    groups = 1 if isinstance(owner, nn.Linear) else owner.groups
    constant = normed or bool(bias)
    return Layer(place, weight, bias, groups, _cuts(shape[1:], block), constant)


def _cuts(inputs: torch.Size, block: int) -> tuple[int, ...]:
    """Blocks of nearly equal size, each of whole channels."""
    channels, places = inputs[0], inputs[1:].numel()
    count = 1 if not block else min(channels, -(-channels * places // block))
    return tuple(i * channels // count * places for i in range(count + 1))


def blocks(layer: Layer, x: Tensor) -> list[Tensor]:
    """(groups, n, columns) as one (n, d) per group and block, the constant last in each."""
    last = x[..., layer.cuts[-1] :]
    return [
        torch.cat([own[:, a:b], constant], 1)
        for own, constant in zip(x, last, strict=True)
        for a, b in pairwise(layer.cuts)
    ]


def whole(layer: Layer, pieces: Sequence[Tensor], before: Tensor) -> Tensor:
    """The inverse of `blocks` for a changed matrix; the constants' changes since `before` add up."""
    sizes = [b - a for a, b in pairwise(layer.cuts)]
    made = []
    for number, own in enumerate(before):
        mine = pieces[number * len(sizes) : (number + 1) * len(sizes)]
        bodies, constants = zip(
            *((p[:, :size], p[:, size:]) for p, size in zip(mine, sizes, strict=True)), strict=True
        )
        shift = constants[0]  # as it is: of one block every bit stays
        for constant in constants[1:]:
            shift = shift + (constant - own[:, layer.cuts[-1] :])
        made.append(torch.cat([*bodies, shift], 1))
    return torch.stack(made)


def query_columns(
    learner: Learner, params: Tensors, task: Task, layers: Sequence[Layer], limit: int
) -> dict[str, Tensor]:
    """By weight, (groups, n, d): what the query samples send into each layer under these parameters."""
    seen: dict[str, list[Tensor]] = {layer.weight: [] for layer in layers}
    hooks = [
        learner.module.get_submodule(layer.place).register_forward_pre_hook(
            lambda _, inputs, found=seen[layer.weight]: found.append(inputs[0])
        )
        for layer in layers
    ]
    try:
        learner.query_outputs(params, task.support_x, task.query_x)
    finally:
        for hook in hooks:
            hook.remove()
    queries, made = len(task.query_x), {}
    for layer in layers:
        owner = learner.module.get_submodule(layer.place)
        parts = [columns(owner, x[-queries:], limit) for x in seen[layer.weight]]
        made[layer.weight] = _with_constant(torch.cat(parts, 1)) if layer.constant else torch.cat(parts, 1)
    return made


def columns(layer: nn.Module, x: Tensor, limit: int) -> Tensor:
    """(groups, n, d) with n at most about `limit`, in the order of the layer's flattened weight."""
    if not isinstance(layer, _CONVOLUTIONS):
        return x.reshape(1, -1, x.shape[-1])
    one_d = isinstance(layer, nn.Conv1d)
    image = x[:, :, None, :] if one_d else x
    sizes = {name: _pair(getattr(layer, name), one_d) for name in ("kernel_size", "dilation", "stride")}
    padding = (0, *layer.padding) if one_d else layer.padding

    def patches(samples: Tensor) -> Tensor:
        return F.unfold(samples, **sizes, padding=padding)  # type: ignore[arg-type]  # no "same" here

    places = patches(image[:1]).shape[2]
    if len(image) * places <= limit:
        found = patches(image)
    else:
        # One sample at a time: the patches of all of them would not fit in memory for wide layers.
        each = max(1, limit // len(image))
        drawn = [torch.from_numpy(Draws("places", i).order(places)[:each]) for i in range(len(image))]
        found = torch.cat([patches(s[None])[:, :, rows] for s, rows in zip(image, drawn, strict=True)])
    groups = layer.groups
    grouped = found.reshape(len(found), groups, -1, found.shape[2])
    return grouped.permute(1, 0, 3, 2).reshape(groups, -1, grouped.shape[2])


def matrix(params: Mapping[str, Tensor], layer: Layer) -> Tensor:
    """A layer's weight, (groups, outputs of a group, d); the last column is what goes with the constant."""
    weight = params[layer.weight]
    flat = weight.reshape(layer.groups, len(weight) // layer.groups, -1)
    if not layer.constant:
        return flat
    shift = params[layer.bias] if layer.bias else weight.new_zeros(len(weight))
    return torch.cat([flat, shift.reshape(layer.groups, -1, 1)], 2)


def parts(layer: Layer, made: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """The inverse of `matrix`: a weight of that shape, and the bias where there is one."""
    if not layer.constant:
        return made.reshape(tuple(shape)), None
    return made[..., :-1].reshape(tuple(shape)), made[..., -1].flatten() if layer.bias else None


def _pair(value: tuple[int, ...], one_d: bool) -> tuple[int, ...]:
    return (1, *value) if one_d else value


def _with_constant(z: Tensor) -> Tensor:
    return torch.cat([z, z.new_ones(*z.shape[:2], 1)], 2)
