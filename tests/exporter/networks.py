"""Small networks that together use every importable op, and the learner that wraps one for a test."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from regrow_exporter.programs import Learner
from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.rules.sgd import sgd
from tests.exporter.mobile_networks import MOBILE
from tests.exporter.sequence_networks import LOSSES, SEQUENCES


class Residual(nn.Module):
    """One ResNet-12 block: three convolutions, a 1x1 shortcut, leaky ReLU, pooling, global average."""

    def __init__(self, slope: float = 0.1, width: int = 6, classes: int = 4) -> None:
        super().__init__()
        sizes = [2, width, width, width]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, track_running_stats=False) for _ in range(3))
        self.skip = nn.Conv2d(2, width, 1, bias=False)
        self.skip_norm = nn.BatchNorm2d(width, track_running_stats=False)
        self.head = nn.Linear(width, classes)
        self.slope = slope

    def forward(self, x):
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            y = F.leaky_relu(y, self.slope) if i < 2 else y
        y = F.leaky_relu(y + self.skip_norm(self.skip(x)), self.slope)
        return self.head(F.adaptive_avg_pool2d(F.max_pool2d(y, 2), 1).flatten(1))


class Mixed(nn.Module):
    """No norm, so every bias has a gradient; strides, groups, overlapping pools, arithmetic, tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4)
        self.grouped = nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.gain = nn.Parameter(torch.rand(6, 1, 1) + 0.5)
        self.low = nn.Linear(6 * 3, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = F.max_pool2d(torch.tanh(self.stem(x)), 3, 2, 1)
        x = self.grouped(self.deep(x)) / (1.5 + self.gain * self.gain)
        x = (x - 0.1 * self.gain).mean(3).transpose(1, 2).reshape(x.shape[0], -1)
        return self.head(torch.tanh(self.low(x)))


class Frozen(nn.Module):
    """Batch norm on running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 3)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2.0)
        self.norm.eval()

    def forward(self, x):
        return self.head(F.relu(self.norm(self.conv(x))).sum((2, 3)))


class Sine(nn.Module):
    """A regression network."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 10), nn.ReLU(), nn.Linear(10, 10), nn.Tanh())
        self.head = nn.Linear(10, 1)

    def forward(self, x):
        return self.head(self.body(x))


NETWORKS = {
    "conv4": (lambda: Conv4((1, 14, 14), 5, 4, 3), (1, 14, 14), "cross_entropy"),
    "strided": (lambda: Conv4((2, 9, 9), 3, 4, 2, downsample="stride"), (2, 9, 9), "cross_entropy"),
    "residual": (Residual, (2, 8, 8), "cross_entropy"),
    "mixed": (Mixed, (2, 12, 12), "cross_entropy"),
    "frozen": (Frozen, (1, 6, 6), "cross_entropy"),
    "sine": (Sine, (1,), "mse"),
    **SEQUENCES,
    **LOSSES,
    **MOBILE,
}


def network(name):
    """A module with no parameter at a special value, its input shape and its loss."""
    torch.manual_seed(0)
    make, shape, loss = NETWORKS[name]
    module = make()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return module, shape, loss


def learner(name, adaptable=None, moves=None, rule=None):
    """A learner over one of the networks; everything adaptable unless told otherwise."""
    module, shape, loss = network(name)
    rule = rule or sgd(0.05)
    chosen = tuple(n for n, _ in module.named_parameters() if adaptable is None or adaptable(n))
    params = {n: p.detach() for n, p in module.named_parameters() if n in chosen}
    return Learner(module, shape, chosen, rule, rule.meta(params), loss, moves or {})
