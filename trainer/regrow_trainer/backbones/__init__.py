"""Networks without a rule. A new one is a module anywhere and, for a short name, one row here."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from regrow.errors import UnsupportedError
from regrow_trainer.norm import adopt
from regrow_trainer.tables import call, parameters_of, path_of

# name -> "module:callable"; `input_shape` and `outputs` are filled in from the data where it takes them.
BACKBONES: dict[str, str] = {
    "conv1d": "regrow_trainer.backbones.conv1d:Conv1d",
    "conv4": "regrow_trainer.backbones.conv4:Conv4",
    "mlp": "regrow_trainer.backbones.mlp:MLP",
    "narrow": "regrow_trainer.backbones.narrow:narrow",
    "resnet12": "regrow_trainer.backbones.resnet:ResNet12",
    "resnet20": "regrow_trainer.backbones.resnet:ResNet20",
    "supermask": "regrow_trainer.backbones.supermask:supermask",
}


def define(
    name: str, args: dict[str, Any], input_shape: tuple[int, ...], outputs: int
) -> tuple[str, dict[str, Any]]:
    """Dotted path and complete arguments: enough to build the backbone anywhere."""
    path = path_of("backbone", name, BACKBONES)
    known = parameters_of("backbone", path)
    filled = {"input_shape": list(input_shape), "outputs": outputs}
    return path, {**{key: value for key, value in filled.items() if key in known}, **args}


def build(path: str, args: dict[str, Any], seed: int) -> nn.Module:
    """The module with its initial weights, drawn from `seed` without touching torch's own generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = call("backbone", path, args)
    if not isinstance(module, nn.Module):
        raise UnsupportedError(f"backbone: {path} made a {type(module).__name__}, expected a torch.nn.Module")
    return adopt(module)
