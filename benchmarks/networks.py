"""The networks whose adaptation is timed, at sizes that run on devices. Classifiers called `head`.

The tests prove small sisters of these (`tests/exporter/*networks.py`); here sizes decide what dominates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.backbones.mlp import MLP

WAYS = 5


def norm2d(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, track_running_stats=False)


def conv(inside: int, outside: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Padded so that only the stride changes the size; no bias, a norm follows."""
    return nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)


class Residual12(nn.Module):
    """One block of ResNet-12: three convolutions beside a 1x1, leaky ReLU, halved by pooling."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        sizes = [inside, outside, outside, outside]
        self.convs = nn.ModuleList(conv(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(norm2d(outside) for _ in range(3))
        self.skip, self.skip_norm = conv(inside, outside, 1), norm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i, (layer, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(layer(y))
            y = F.leaky_relu(y, 0.1) if i < 2 else y
        return F.max_pool2d(F.leaky_relu(y + self.skip_norm(self.skip(x)), 0.1), 2)


class ResNet12(nn.Module):
    """As in few-shot learning; 64-160-320-640 is the full width."""

    def __init__(self, widths: tuple[int, ...] = (64, 160, 320, 640)) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Residual12(a, b) for a, b in pairwise((3, *widths)))
        self.head = nn.Linear(widths[-1], WAYS)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return torch.as_tensor(self.head(F.adaptive_avg_pool2d(x, 1).flatten(1)))


class Basic(nn.Module):
    """A basic residual block; a stride goes with a strided 1x1 shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(inside, outside, 3, stride), norm2d(outside)
        self.conv2, self.norm2 = conv(outside, outside), norm2d(outside)
        self.skip = conv(inside, outside, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.skip(x))


class ResNet20(nn.Module):
    """As for small images: three stages of three basic blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = conv(3, 16), norm2d(16)
        steps = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
        self.blocks = nn.ModuleList(Basic(*step) for step in steps)
        self.head = nn.Linear(64, WAYS)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return torch.as_tensor(self.head(x.mean((2, 3))))


class ResNet18(nn.Module):
    """The large-image form, cut after two stages: 7x7 strided stem, overlapping pool, tracked norms."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem, self.norm = conv(3, width, 7, 2), nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList([Basic(width, width, 1), Basic(width, 2 * width, 2)])
        self.head = nn.Linear(2 * width, WAYS)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.stem(x))), 3, 2, 1)
        for block in self.blocks:
            x = block(x)
        return torch.as_tensor(self.head(x.mean((2, 3))))


class Excite(nn.Module):
    """Squeeze-and-excite by 1x1 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(F.silu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class Inverted(nn.Module):
    """Expand, filter each channel, excite where asked, project; a shortcut where the shape stays."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, act: nn.Module, se: bool) -> None:
        super().__init__()
        wide = 4 * inside
        self.expand, self.norm1 = conv(inside, wide, 1), norm2d(wide)
        self.each, self.norm2 = conv(wide, wide, kernel, stride, wide), norm2d(wide)
        self.excite = Excite(wide) if se else nn.Identity()
        self.project, self.norm3 = conv(wide, outside, 1), norm2d(outside)
        self.act, self.shortcut = act, inside == outside and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.expand(x)))
        y = self.excite(self.act(self.norm2(self.each(y))))
        y = torch.as_tensor(self.norm3(self.project(y)))
        return x + y if self.shortcut else y


class Mobile(nn.Module):
    """A strided stem and inverted residuals: MobileNetV2-like; efficient: 5x5, swish, excite."""

    def __init__(self, efficient: bool) -> None:
        super().__init__()
        self.act = nn.SiLU() if efficient else nn.ReLU6()
        self.stem, self.norm = conv(3, 16, 3, 2), norm2d(16)
        steps = [(16, 16, 3, 1), (16, 24, 3, 2), (24, 24, 5 if efficient else 3, 1)]
        steps += [(24, 40, 5 if efficient else 3, 2), (40, 40, 3, 1)]
        self.blocks = nn.ModuleList(Inverted(*step, self.act, efficient) for step in steps)
        self.last, self.last_norm = conv(40, 160, 1), norm2d(160)
        self.head = nn.Linear(160, WAYS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        x = self.act(self.last_norm(self.last(x)))
        return torch.as_tensor(self.head(F.adaptive_avg_pool2d(x, 1).flatten(1)))


class Signal(nn.Module):
    """A 1-D CNN: batch and group norm, stride, dilation, both pools, elu, softplus."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(6, width, 7, padding=3)
        self.norm1 = nn.BatchNorm1d(width, track_running_stats=False)
        self.conv2, self.norm2 = nn.Conv1d(width, 2 * width, 5, 2, 2), nn.GroupNorm(8, 2 * width)
        self.last = nn.Conv1d(2 * width, 2 * width, 3, padding=2, dilation=2)
        self.head = nn.Linear(2 * width, WAYS)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(F.elu(self.norm1(self.conv1(x))), 2)
        x = F.avg_pool1d(F.leaky_relu(self.norm2(self.conv2(x)), 0.2), 2)
        return torch.as_tensor(self.head(F.softplus(self.last(x)).mean(-1)))


class Separable(nn.Module):
    """A filter per channel, then a mix of channels."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.each = nn.Conv1d(inside, inside, 9, stride, 4, groups=inside, bias=False)
        self.mix = nn.Conv1d(inside, outside, 1, bias=False)
        self.norm = nn.BatchNorm1d(outside, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.mix(self.each(x))))


class Audio(nn.Module):
    """Depthwise-separable layers over a quarter second of sound at 16 kHz."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 32, 16, 4, 6, bias=False)
        self.norm = nn.BatchNorm1d(32, track_running_stats=False)
        steps = [(32, 32, 2), (32, 64, 1), (64, 64, 2), (64, 64, 1)]
        self.blocks = nn.ModuleList(Separable(*step) for step in steps)
        self.head = nn.Linear(64, WAYS)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return torch.as_tensor(self.head(x.mean(-1)))


class Recurrent(nn.Module):
    """One recurrent layer over a sequence, classified by its last output."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.last = kind(16, 64, batch_first=True)
        self.head = nn.Linear(64, WAYS)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.last(x)[0][:, -1]))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        rows, tokens, width = x.shape
        split = self.qkv(self.norm1(x)).reshape(rows, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(query, key, value)
        x = x + self.out(seen.transpose(1, 2).reshape(rows, tokens, width))
        return x + torch.as_tensor(self.down(F.gelu(self.up(self.norm2(x)))))


class Transformer(nn.Module):
    """Patches by a convolution, learned positions, two blocks; by a class token or by the mean."""

    def __init__(self, channels: int, tokens: int, token: bool, width: int = 64) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02) if token else None
        self.place = nn.Parameter(torch.randn(1, tokens + token, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, 4) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, WAYS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = x + self.place
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return torch.as_tensor(self.head(x.mean(1) if self.token is None else x[:, 0]))


@dataclass(frozen=True)
class Network:
    """How one is made, what it takes, and which parameters are its last block (the head comes along)."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    last: str
    limit: float = 1.15  # of torch's time that an adaptation of everything may take

    def build(self) -> nn.Module:
        """Always the same weights."""
        torch.manual_seed(0)
        return self.make()


NETWORKS: dict[str, Network] = {
    "conv4": Network(lambda: Conv4((1, 28, 28), WAYS, 64), (1, 28, 28), "blocks.3.*", 1.0),
    "mlp": Network(lambda: MLP((784,), WAYS, (256, 256)), (784,), "layers.1.*", 1.0),
    "signal": Network(Signal, (6, 128), "last.*", 1.0),
    "transformer": Network(lambda: Transformer(1, 49, False), (1, 28, 28), "blocks.1.*", 1.0),
    "vit": Network(lambda: Transformer(3, 64, True), (3, 32, 32), "blocks.1.*"),
    # A quarter of the full width, so that a run takes minutes.
    "resnet12": Network(lambda: ResNet12((16, 40, 80, 160)), (3, 84, 84), "blocks.3.*"),
    "resnet20": Network(ResNet20, (3, 32, 32), "blocks.8.*"),
    "resnet18": Network(ResNet18, (3, 64, 64), "blocks.1.*"),
    "mobilenet": Network(lambda: Mobile(False), (3, 64, 64), "blocks.4.*"),
    "efficientnet": Network(lambda: Mobile(True), (3, 64, 64), "blocks.4.*"),
    "audio": Network(Audio, (1, 4000), "blocks.3.*"),
    "lstm": Network(lambda: Recurrent(nn.LSTM), (32, 16), "last.*"),
    "gru": Network(lambda: Recurrent(nn.GRU), (32, 16), "last.*"),
}
