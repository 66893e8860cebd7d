"""The cases of the pack: what each is there for, its network, and how it adapts."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from regrow_exporter.conformance import networks
from regrow_exporter.resolve import resolve

STEPS = 5
CLASSES = networks.CLASSES
Masks = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Plan:
    """One case. `settings` are keywords of `export`; `ways` classes are in use of those the head has."""

    says: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    sparsity: float = 0.0
    ways: int = CLASSES
    rated: bool = False  # a rate of its own for every adaptable parameter

    def build(self) -> tuple[nn.Module, Masks]:
        """Always the same weights, none of them at a special value; random masks over all but the head."""
        torch.manual_seed(0)
        module, masks = self.make(), {}
        with torch.no_grad():
            for name, p in module.named_parameters():
                if p.ndim == 1:
                    p.add_(torch.randn_like(p) * 0.2)
                elif self.sparsity and "head" not in name:
                    # As many in every row: a channel that is cut off is rounding, made large by a norm.
                    count = math.ceil(p[0].numel() * (1 - self.sparsity))
                    order = torch.rand(len(p), p[0].numel()).argsort(1)
                    masks[name] = (order < count).view(p.shape)
                    p.mul_(masks[name])
        return module, masks

    def meta(self, module: nn.Module) -> Masks | None:
        """The rates, where every parameter has its own."""
        if not self.rated:
            return None
        generator = torch.Generator().manual_seed(1)
        return {
            f"rate.{n}": 0.02 + 0.1 * torch.rand(p.shape, generator=generator)
            for n, p in module.named_parameters()
        }


def _trainers(path: str, *args: Any, **how: Any) -> nn.Module:
    made: nn.Module = resolve(f"regrow_trainer.backbones.{path}", named_by_user=False)(*args, **how)
    return made


_IMAGE, _VECTOR, _SERIES = (1, 14, 14), (12,), (5, 4)
_conv4 = partial(_trainers, "conv4:Conv4", _IMAGE, CLASSES, 8, 3)
_mlp = partial(_trainers, "mlp:MLP", _VECTOR, CLASSES, (16, 16))
_sine = partial(_trainers, "mlp:MLP", (1,), 1, (16, 16))
_residual = partial(_trainers, "resnet:ResNet12", (2, 12, 12), CLASSES, (4, 6))
_ALL = {"adaptable": ["*"], "lr": 0.05}

CASES: dict[str, Plan] = {
    "conv4-dense": Plan("convolution, batch norm, pooling; everything adapts", _conv4, _IMAGE, _ALL),
    "conv4-kept": Plan("85 % pruned; kept weights adapt", _conv4, _IMAGE, _ALL, 0.85),
    "conv4-complement": Plan(
        "85 % pruned; pruned weights adapt, kept ones do not",
        _conv4,
        _IMAGE,
        {**_ALL, "update": "pruned"},
        0.85,
    ),
    "conv4-head": Plan("only the head adapts", _conv4, _IMAGE, {"adaptable": ["head.*"], "lr": 0.1}),
    "conv4-bias-norm": Plan(
        "only biases and norms adapt", _conv4, _IMAGE, {"adaptable": ["@norm+bias"], "lr": 0.1}
    ),
    "conv4-int8": Plan(
        "85 % pruned, weights stored as int8; the last block and the head adapt",
        _conv4,
        _IMAGE,
        {"adaptable": ["blocks.2.*", "head.*"], "lr": 0.05, "precision": "int8"},
        0.85,
    ),
    "prototype": Plan(
        "nearest class means, fitted without a gradient", _conv4, _IMAGE, {"rule": "prototype"}
    ),
    "mlp-dense": Plan("linear layers", _mlp, _VECTOR, _ALL),
    "mlp-few-classes": Plan("three of five outputs are in use", _mlp, _VECTOR, _ALL, ways=3),
    "mlp-momentum": Plan(
        "momentum: state carried from step to step",
        _mlp,
        _VECTOR,
        {"adaptable": ["*"], "rule": "momentum", "rule_args": {"lr": 0.05, "momentum": 0.8}},
    ),
    "mlp-adam": Plan(
        "Adam: two moments, a bias correction by the step",
        _mlp,
        _VECTOR,
        {"adaptable": ["*"], "rule": "adam", "rule_args": {"lr": 0.01}},
    ),
    "mlp-rates": Plan(
        "a rate for every parameter",
        _mlp,
        _VECTOR,
        {"adaptable": ["*"], "rule": "meta_sgd", "rule_args": {"lr": 0.05}},
        rated=True,
    ),
    "regression": Plan("mean squared error", _sine, (1,), {**_ALL, "loss": "mse"}),
    "residual": Plan("residual blocks, leaky ReLU, global average", _residual, (2, 12, 12), _ALL),
    "separable": Plan("depthwise convolution, squeeze-and-excite", networks.Separable, (2, 12, 12), _ALL),
    "signal": Plan("convolution in one dimension, group norm", networks.Signal, (2, 32), _ALL),
    "gru": Plan("a gated recurrent layer", networks.Gru, _SERIES, _ALL),
    "lstm": Plan("a recurrent layer with a cell", networks.Lstm, _SERIES, _ALL),
    "attention": Plan("a transformer block", networks.Attention, _SERIES, _ALL),
    "norms": Plan("instance, group and layer norm", networks.Norms, (1, 8, 8), _ALL),
    "running": Plan("batch norm on running statistics", networks.Running, (1, 10, 10), _ALL),
}
