"""The network of a case as a torch module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.case import Case
from benchmarks.workloads import Layer, Layers, Shape, traced


class Net(nn.Module):
    """The layers of a list, in order; `begin` and `end` run a part of them."""

    def __init__(self, layers: Layers, shape: Shape) -> None:
        super().__init__()
        self.layers = layers
        for layer, before, _ in traced(layers, shape):
            match layer:
                case ("conv", name, out, kernel, stride, groups):
                    settings: dict[str, Any] = {"padding": kernel // 2, "groups": groups, "bias": False}
                    self.add_module(name, nn.Conv2d(before[0], out, kernel, stride, **settings))
                case ("norm", name):
                    self.add_module(name, nn.BatchNorm2d(before[0], track_running_stats=False))
                case ("linear", name, out):
                    self.add_module(name, nn.Linear(before[0], out))

    def forward(self, x: Tensor, begin: int = 0, end: int | None = None) -> Tensor:
        for layer in self.layers[begin:end]:
            x = self._apply_layer(layer, x)
        return x

    def _apply_layer(self, layer: Layer, x: Tensor) -> Tensor:
        match layer:
            case ("residual", main, short):
                a = b = x
                for inner in main:
                    a = self._apply_layer(inner, a)
                for inner in short:
                    b = self._apply_layer(inner, b)
                return a + b
            case ("relu",):
                return F.relu(x)
            case ("pool",):
                return F.max_pool2d(x, 2)
            case ("mean",):
                return x.mean((2, 3))
            case ("flatten",):
                return x.flatten(1)
            case (_, name, *_):
                made: Tensor = self.get_submodule(name)(x)
                return made
        raise NotImplementedError(f"layer {layer!r}")


def build(case: Case) -> Net:
    """The module with the weights of the case, and only what adapts requiring a gradient."""
    net = Net(case.layers, case.shape)
    net.load_state_dict({name: torch.from_numpy(array) for name, array in case.weights.items()})
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in case.moving)
    return net.train()
