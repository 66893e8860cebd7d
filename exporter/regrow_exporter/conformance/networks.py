"""Small networks of the pack, each for ops that the trainer's own backbones do not have."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 5


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, track_running_stats=False)


class Separable(nn.Module):
    """A filter per channel, squeeze-and-excite, a mix of channels: what mobile networks are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm1 = nn.Conv2d(2, 6, 3, 2, 1, bias=False), _norm(6)
        self.each, self.norm2 = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), _norm(6)
        self.down, self.up = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)
        self.mix, self.norm3 = nn.Conv2d(6, 8, 1, bias=False), _norm(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.norm1(self.stem(x)))
        x = F.relu6(self.norm2(self.each(x)))
        x = x * torch.sigmoid(self.up(F.silu(self.down(F.adaptive_avg_pool2d(x, 1)))))
        x = F.hardswish(self.norm3(self.mix(x)))
        return torch.as_tensor(self.head(x.mean((2, 3))))


class Signal(nn.Module):
    """A 1-D CNN: strides, dilation, both pools, group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv1d(2, 6, 5, padding=2), nn.GroupNorm(2, 6)
        self.conv2 = nn.Conv1d(6, 8, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(8, 8, 3, padding=2, dilation=2)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(F.elu(self.norm(self.conv1(x))), 2)
        x = F.avg_pool1d(F.leaky_relu(self.conv2(x), 0.1), 2)
        return torch.as_tensor(self.head(F.softplus(self.conv3(x)).mean(-1)))


class Gru(nn.Module):
    """One recurrent layer, classified by its last output."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.GRU(4, 8, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.last(x)[0][:, -1]))


class Lstm(nn.Module):
    """The same with a cell state."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.LSTM(4, 8, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.last(x)[0][:, -1]))


class Attention(nn.Module):
    """Tokens from a linear layer, one pre-norm transformer block, their mean."""

    def __init__(self, width: int = 8, heads: int = 2, tokens: int = 5) -> None:
        super().__init__()
        self.heads = heads
        self.embed, self.place = nn.Linear(4, width), nn.Parameter(torch.randn(1, tokens, width) * 0.2)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.place
        rows, tokens, width = x.shape
        split = self.qkv(self.norm1(x)).reshape(rows, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(query, key, value)
        x = x + self.out(seen.transpose(1, 2).reshape(rows, tokens, width))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return torch.as_tensor(self.head(x.mean(1)))


class Norms(nn.Module):
    """Instance, group and layer norm, which need no statistics of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = (
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.InstanceNorm2d(4, affine=True),
        )
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4)
        self.norm3, self.head = nn.LayerNorm((4, 4, 4)), nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.hardtanh(self.norm1(self.conv1(x))), 2)
        x = self.norm3(torch.tanh(self.norm2(self.conv2(x))))
        return torch.as_tensor(self.head(x.flatten(1)))


class Running(nn.Module):
    """Batch norm on the running statistics of its training, as a network from elsewhere brings them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, CLASSES)
        with torch.no_grad():
            self.norm.running_mean = torch.randn(6) * 0.3
            self.norm.running_var = torch.rand(6) + 0.5
        self.norm.eval()

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(F.relu(self.norm(self.conv(x))).mean((2, 3))))
