"""A backbone some of whose layers have fewer channels: what structured pruning leaves.

Its weights at first are the leading ones of the whole backbone's; a checkpoint brings those that were kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from regrow.errors import UnsupportedError
from regrow_trainer.backbones import BACKBONES, define
from regrow_trainer.tables import call


def narrow(
    input_shape: Sequence[int],
    outputs: int,
    backbone: str,
    shapes: Mapping[str, Sequence[int]],
    args: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A backbone of the table; `shapes` are those of its parameters that have changed."""
    if backbone not in BACKBONES:
        # A checkpoint says what to build here, so a dotted path could be anybody's code.
        raise UnsupportedError(
            f"backbone: narrow {backbone!r}, expected one of {', '.join(BACKBONES)}; give a module of your "
            "own the widths as arguments"
        )
    whole = define(backbone, dict(args or {}), tuple(input_shape), outputs)
    module: nn.Module = call("backbone", *whole)
    for name, shape in shapes.items():
        _cut(module, name, tuple(shape))
    return module


def _cut(module: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    place, _, leaf = name.rpartition(".")
    whole = dict(module.named_parameters()).get(name)
    if whole is None or not _fits(shape, whole.shape):
        found = "no parameter" if whole is None else list(whole.shape)
        raise UnsupportedError(
            f"backbone: narrow {name} to {list(shape)}: it is {found}, expected one at least that large; "
            "use the version of the code that pruned it"
        )
    layer = module.get_submodule(place)
    setattr(layer, leaf, nn.Parameter(leading(whole.detach(), shape)))
    if leaf == "weight" and isinstance(layer, nn.Conv1d | nn.Conv2d):
        layer.out_channels, layer.in_channels = shape[0], shape[1] * layer.groups
    elif leaf == "weight" and isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = shape


def _fits(shape: Sequence[int], whole: Sequence[int]) -> bool:
    return len(shape) == len(whole) and all(a <= b for a, b in zip(shape, whole, strict=True))


def leading(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The first entries along every dimension."""
    return tensor[tuple(slice(size) for size in shape)].clone()
