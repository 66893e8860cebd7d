"""A module as it will be deployed."""

from torch import nn

from regrow_exporter.masks import Masks, copied


def prepared(module: nn.Module) -> tuple[nn.Module, Masks]:
    """A copy as it will be deployed, pruning hooks folded, and the masks that they held."""
    module, found = copied(module)
    for layer in module.modules():
        # A device learns from a handful of samples: dropping features at random only adds noise there.
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.p = 0.0
    return module, found
