"""A module as it will be deployed, and the masks of what was pruned in it."""

import copy
from collections.abc import Mapping

import torch
from torch import nn

from regrow.errors import UnsupportedError


def prepared(module: nn.Module) -> nn.Module:
    """A copy as it will be deployed."""
    module = copy.deepcopy(module)
    for layer in module.modules():
        # A device learns from a handful of samples: dropping features at random only adds noise there.
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.p = 0.0
    return module


def kept_positions(
    module: nn.Module, masks: Mapping[str, torch.Tensor] | str | None
) -> dict[str, torch.Tensor]:
    """Kept positions per masked parameter; the module's pruned weights are checked to be zero."""
    params = {n: p.detach() for n, p in module.named_parameters()}
    if masks is None:
        return {}
    if isinstance(masks, str):
        if masks != "zeros":
            raise UnsupportedError(f"export: masks={masks!r}, expected 'zeros' or a dict of tensors")
        masks = {n: p != 0 for n, p in params.items() if p.ndim > 1 and bool((p == 0).any())}
    for name, mask in masks.items():
        if name not in params or mask.shape != params[name].shape:
            raise UnsupportedError(
                f"export: masks[{name!r}] of shape {tuple(mask.shape)}: no parameter of that name and shape"
            )
        if not bool(mask.any()):
            raise UnsupportedError(f"export: masks[{name!r}] keeps nothing; remove the layer instead")
        if bool((params[name][~mask.bool()] != 0).any()):
            raise UnsupportedError(
                f"export: {name} has pruned weights that are not zero; apply the mask first"
            )
    return {n: m.bool() for n, m in masks.items()}
