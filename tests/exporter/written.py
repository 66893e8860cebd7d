"""A tiny checkpoint on disk, as the trainer writes one."""

import numpy as np
import torch

from regrow import checkpoint
from regrow.checkpoint import Checkpoint
from regrow.manifest import InputSpec
from regrow_trainer.backbones.conv4 import Conv4

CONV4 = {"path": "regrow_trainer.backbones.conv4:Conv4", "args": {"width": 4, "depth": 2}}


def written(path, *, backbone=CONV4, masked=True, **changes):
    """A checkpoint of a tiny Conv4, as the trainer writes one."""
    torch.manual_seed(0)
    params = {n: p.detach().numpy().copy() for n, p in Conv4(**CONV4["args"]).named_parameters()}
    for name, array in params.items():
        if array.ndim == 1:
            array += np.linspace(0.1, 0.2, array.size, dtype=np.float32)
        assert name
    masks = {"blocks.1.conv.weight": np.arange(144).reshape(4, 4, 3, 3) % 4 == 0} if masked else {}
    for name, mask in masks.items():
        params[name] *= mask
    fields = {
        "backbone": backbone,
        "rule": {"path": "regrow_trainer.rules.sgd:sgd", "args": {"lr": 0.1}},
        "adaptable": ("*",),
        "steps": 2,
        "loss": "cross_entropy",
        "batch_norm": "support",
        "input": InputSpec(),
        "n_out": 5,
        "params": params,
        "masks": masks,
        "meta": {"lr": np.asarray(0.25, np.float32)},
        "extra": {},
        "provenance": {"method": "fomaml"},
        "recipe": {"data": {"validation": "glyphs:val", "args": {}}},
        "iteration": 3,
    }
    checkpoint.write(path, Checkpoint(**(fields | changes)))
    return path
