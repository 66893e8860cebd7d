"""Small networks as they run on devices: inverted residuals, signals, audio, and every norm.

The last block of each is called `last`, its classifier `head`.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Squeeze(nn.Module):
    """Squeeze-and-excite by 1x1 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 2, 1), nn.Conv2d(2, width, 1)

    def forward(self, x):
        pooled = F.adaptive_avg_pool2d(x, 1)
        return x * F.hardsigmoid(self.up(F.silu(self.down(pooled))))


class LinearSqueeze(nn.Module):
    """The same by linear layers, broadcast by hand."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, 4), nn.Linear(4, width)

    def forward(self, x):
        gate = torch.sigmoid(self.up(F.relu6(self.down(x.mean((2, 3))) + 1)))
        return x * gate[:, :, None, None].expand_as(x)


def batch_norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, track_running_stats=False)


class Inverted(nn.Module):
    """Expand, filter each channel, excite, project; a shortcut where the shape stays."""

    def __init__(self, inside: int, outside: int, stride: int, squeeze: nn.Module) -> None:
        super().__init__()
        wide = 2 * inside
        self.expand, self.norm1 = nn.Conv2d(inside, wide, 1, bias=False), batch_norm(wide)
        self.each = nn.Conv2d(wide, wide, 3, stride, padding=1, groups=wide, bias=False)
        self.norm2, self.squeeze = batch_norm(wide), squeeze
        self.project, self.norm3 = nn.Conv2d(wide, outside, 1, bias=False), batch_norm(outside)
        self.shortcut = inside == outside and stride == 1

    def forward(self, x):
        y = F.hardswish(self.norm1(self.expand(x)), inplace=True)
        y = self.squeeze(F.relu6(self.norm2(self.each(y))))
        y = self.norm3(self.project(y))
        return x + y if self.shortcut else y


class Mobile(nn.Module):
    """MobileNet-like: a strided stem, two inverted residuals, a swish before the classifier."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False), batch_norm(4)
        self.first = Inverted(4, 4, 1, Squeeze(8))
        self.last = Inverted(4, 6, 2, LinearSqueeze(8))
        self.drop, self.head = nn.Dropout(0.0), nn.Linear(6, classes)

    def forward(self, x):
        x = self.last(self.first(F.hardswish(self.norm(self.stem(x)))))
        return self.head(self.drop(F.adaptive_avg_pool2d(F.silu(x), 1).flatten(1)))


class Signal(nn.Module):
    """A 1-D CNN: group norm, elu, both pools, dilation, softplus."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv1d(2, 4, 5, padding="same"), nn.GroupNorm(2, 4)
        self.conv2, self.norm2 = nn.Conv1d(4, 6, 3, stride=2, padding=1), nn.GroupNorm(3, 6)
        self.last = nn.Sequential(nn.Conv1d(6, 6, 3, padding=2, dilation=2), nn.Softplus())
        self.head = nn.Linear(6, classes)

    def forward(self, x):
        x = F.max_pool1d(F.elu(self.norm1(self.conv1(x))), 2)
        x = F.avg_pool1d(F.elu(self.norm2(self.conv2(x)), 0.5), 3, 2, 1)
        return self.head(self.last(x).mean(-1))


class Audio(nn.Module):
    """Depthwise-separable layers over a causal waveform; filters per channel, norms without scale."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 3, 5, stride=2, bias=False)
        self.each1 = nn.Conv1d(3, 6, 3, groups=3, bias=False)
        self.norm1 = nn.BatchNorm1d(6, affine=False)
        self.mix1 = nn.Conv1d(6, 4, 1)
        self.last = nn.Sequential(
            nn.Conv1d(4, 4, 3, stride=2, padding=1, groups=4, bias=False),
            nn.InstanceNorm1d(4),
            nn.Conv1d(4, 5, 1),
            nn.GELU(),
        )
        self.head = nn.Linear(5 * 2, classes)

    def forward(self, x):
        x = F.leaky_relu(self.stem(F.pad(x, (4, 0))), 0.2)
        x = F.gelu(self.mix1(self.norm1(self.each1(x))), approximate="tanh")
        return self.head(F.adaptive_avg_pool1d(self.last(x), 2).flatten(1))


class Norms(nn.Module):
    """Instance, group and layer norm in one network; attention over positions pools it."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norm1 = nn.InstanceNorm2d(4, affine=True)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4)
        self.norm3 = nn.LayerNorm((4, 3, 3))
        self.last = nn.Conv2d(4, 5, 2)
        self.head = nn.Linear(4, classes)

    def forward(self, x):
        x = F.avg_pool2d(F.hardtanh(self.norm1(self.conv1(x))), 2)
        x = F.avg_pool2d(F.selu(self.norm2(self.conv2(x))), 2, 1)
        x = self.last(self.norm3(x)).flatten(2)
        score, value = x[:, :1], x[:, 1:].abs().clamp(max=1.5)
        return F.log_softmax(self.head((value * F.softmax(score, 2)).sum(2)), 1)


class Tracked(nn.Module):
    """Batch norm that keeps running statistics, in training mode: the support set's are used."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv, self.norm1 = nn.Conv2d(2, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)
        self.last = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, affine=False))
        self.head = nn.Linear(4, classes)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv(x)), inplace=True)
        x = x + F.sigmoid(self.last(x))
        return self.head((x.square().mean((2, 3)) + 0.1).sqrt())


MOBILE = {
    "mobile": (Mobile, (2, 12, 12), "cross_entropy"),
    "signal": (Signal, (2, 16), "cross_entropy"),
    "audio": (Audio, (1, 28), "cross_entropy"),
    "norms": (Norms, (2, 8, 8), "cross_entropy"),
    "tracked": (Tracked, (2, 9, 9), "cross_entropy"),
}
