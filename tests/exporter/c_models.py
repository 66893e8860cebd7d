"""Bundles to write as C, and how they are exported."""

import torch

from regrow import bundle
from regrow_exporter import export
from tests.exporter.networks import network


def masked(module, density):
    """Random masks for every weight but the head's, and the module with them applied."""
    generator = torch.Generator().manual_seed(3)
    masks = {}
    for name, p in module.named_parameters():
        if p.ndim > 1 and "head" not in name and density < 1:
            masks[name] = torch.rand(p.shape, generator=generator) < density
            masks[name].view(-1)[0] = True
            p.data.mul_(masks[name])
    return masks


# name: network, density, and what else the export is told
MODELS = {
    "sparse": ("conv4", 0.25, {"adaptable": ["*"], "lr": 0.05}),
    "dense": ("conv4", 1.0, {"adaptable": ["*"], "rule": "momentum", "lr": 0.05}),
    "adam": ("residual", 0.25, {"adaptable": ["*"], "rule": "adam", "lr": 0.01}),
    "complement": ("conv4", 0.5, {"adaptable": ["*"], "update": "pruned", "lr": 0.05}),
    "head": ("strided", 0.25, {"adaptable": ["head.*"], "lr": 0.1}),
    "mixed": ("mixed", 1.0, {"adaptable": ["*"], "lr": 0.05}),
    "frozen": ("frozen", 1.0, {"adaptable": ["*"], "lr": 0.01}),
    "sine": ("sine", 1.0, {"adaptable": ["*"], "lr": 0.01, "loss": "mse"}),
    "prototype": ("conv4", 0.25, {"rule": "prototype"}),
    "gru": ("gru", 1.0, {"adaptable": ["*"], "lr": 0.05}),
}


def write_bundle(name, path):
    """Export one of the models."""
    kind, density, options = MODELS[name]
    module, shape, _ = network(kind)
    masks = masked(module, density)
    torch.manual_seed(4)
    export(module, torch.rand(6, *shape), masks=masks or None, path=path, **options)
    return bundle.read(path)
