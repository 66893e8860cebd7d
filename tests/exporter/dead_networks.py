"""Networks with dead filters in every place where a channel meets another."""

import torch
from torch import nn


def killed(module, dead, share=0.6, seed=0):
    """Masks that keep `share` of every listed weight and nothing of its `dead` rows, applied."""
    rng = torch.Generator().manual_seed(seed)
    masks = {}
    with torch.no_grad():
        for name, rows in dead.items():
            weight = module.get_parameter(name)
            masks[name] = torch.rand(weight.shape, generator=rng) < share
            masks[name][list(rows)] = False
            weight.mul_(masks[name])
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=rng) * 0.3)
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
                norm.running_mean.normal_(generator=rng)
                norm.running_var.uniform_(0.5, 2.0, generator=rng)
                norm.eval()
    return masks


def norm(width, tracked):
    """Batch norm on the batch's statistics, or on tracked ones."""
    return nn.BatchNorm2d(width, track_running_stats=tracked)


class Plain(nn.Module):
    """Convolutions one after the other, pooled, flattened into a linear layer under the head."""

    def __init__(self, tracked=False, padding=1):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=padding)
        self.first_norm = norm(8, tracked)
        self.second = nn.Conv2d(8, 6, 3, padding=padding, bias=False)
        self.second_norm = norm(6, tracked)
        self.low = nn.Linear(6 * 4, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.first_norm(self.first(x))), 2)
        x = nn.functional.adaptive_avg_pool2d(torch.relu(self.second_norm(self.second(x))), 2)
        return self.head(torch.tanh(self.low(x.flatten(1))))


class Skip(nn.Module):
    """A residual block: its own channels are free, those of the sum only together."""

    def __init__(self, tracked=False):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.inner = nn.Conv2d(6, 5, 3, padding=1, bias=False)
        self.inner_norm = norm(5, tracked)
        self.outer = nn.Conv2d(5, 6, 3, padding=1, bias=False)
        self.low = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.outer(torch.relu(self.inner_norm(self.inner(x)))))
        return self.head(torch.tanh(self.low(x)).mean((2, 3)))


class Joined(nn.Module):
    """Two branches side by side, one of them also read alone."""

    def __init__(self, tracked=False):
        super().__init__()
        self.left = nn.Conv2d(1, 4, 3, padding=1)
        self.right = nn.Conv2d(1, 5, 3, padding=1)
        self.norm = norm(9, tracked)
        self.low = nn.Conv2d(9, 6, 1)
        self.side = nn.Conv2d(5, 6, 1, bias=False)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        right = torch.relu(self.right(x))
        x = torch.relu(self.norm(torch.cat([self.left(x), right], 1)))
        return self.head(torch.tanh(self.low(x) + self.side(right)).mean((2, 3)))


class Mobile(nn.Module):
    """Inverted bottleneck with squeeze and excitation: wide, depthwise, gated, narrow."""

    def __init__(self, tracked=False):
        super().__init__()
        self.wide = nn.Conv2d(1, 8, 1, bias=False)
        self.wide_norm = norm(8, tracked)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.squeeze = nn.Conv2d(8, 3, 1)
        self.excite = nn.Conv2d(3, 8, 1)
        self.narrow = nn.Conv2d(8, 5, 1, bias=False)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = self.deep(nn.functional.relu6(self.wide_norm(self.wide(x))))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(torch.tanh(self.narrow(x * gate)).mean((2, 3)))


class Grouped(nn.Module):
    """A convolution in two groups, which has as many channels in each."""

    def __init__(self, tracked=False):
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.first_norm = norm(6, tracked)
        self.pairs = nn.Conv2d(6, 4, 3, padding=1, groups=2)
        self.low = nn.Conv2d(4, 5, 1)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.pairs(torch.relu(self.first_norm(self.first(x)))))
        return self.head(torch.tanh(self.low(x)).mean((2, 3)))


SHAPE = (1, 8, 8)
# The network, which rows of which weights die, its input, and how many filters can go: where norms are on the
# batch's own statistics, and on tracked ones.
DEAD = {
    # A constant behind a border of zeros can only be shared, so one of those that are not zero stays.
    "plain": (Plain, {"first.weight": (0, 3, 5), "second.weight": (1, 4), "low.weight": (2,)}, SHAPE, (4, 4)),
    "unpadded": (
        lambda tracked=False: Plain(tracked, 0),
        {"first.weight": (0, 3, 5), "second.weight": (1, 4)},
        (1, 14, 14),
        (5, 5),
    ),
    # Of a sum only what is dead on both sides can go.
    "skip": (Skip, {"stem.weight": (0, 2), "inner.weight": (1, 3), "outer.weight": (2, 4)}, SHAPE, (3, 3)),
    "joined": (Joined, {"left.weight": (0, 2), "right.weight": (1, 3)}, SHAPE, (4, 4)),
    # A constant of zero goes through a border, and takes its part of the gate along.
    "mobile": (Mobile, {"wide.weight": (0, 3), "deep.weight": (5,)}, SHAPE, (12, 9)),
    # As many channels in each group.
    "grouped": (Grouped, {"first.weight": (0, 4), "pairs.weight": (1,)}, SHAPE, (0, 0)),
}


def dead(name, tracked=False):
    """A network and its masks."""
    torch.manual_seed(0)
    make, rows, _, _ = DEAD[name]
    module = make(tracked)
    return module, killed(module, rows)
