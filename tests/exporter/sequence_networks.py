"""Small networks over sequences and with branches: attention, recurrence, concatenation, shared weights."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        rows, tokens, width = x.shape
        split = self.qkv(self.norm1(x)).reshape(rows, tokens, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, tokens, width)
        x = x + self.out(seen)
        return x + self.down(torch.tanh(self.up(self.norm2(x))))


class Vit(nn.Module):
    """Patches by a convolution, a class token, learned positions, two blocks."""

    def __init__(self, width: int = 6, classes: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.5)
        self.place = nn.Parameter(torch.randn(1, 5, width) * 0.5)
        self.first, self.last = Block(width, 2), Block(width, 2)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.head(self.norm(self.last(self.first(x)))[:, 0])


class Lstm(nn.Module):
    """Two layers over three steps, classified by the last output."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(3, 4, batch_first=True)
        self.last = nn.LSTM(4, 3, batch_first=True)
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.last(self.first(x)[0])[0][:, -1])


class Gru(nn.Module):
    """Time first, both directions, classified by the last states and the mean output."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.GRU(3, 4, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        outputs, last = self.last(x.permute(1, 0, 2))
        return self.head(torch.cat([last[0], last[1], outputs.mean(0)], -1))


class Branches(nn.Module):
    """Concatenated branches, one of which reuses the other's layer; a part of the input skips both."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(5, 5)
        self.last = nn.Linear(10, 8)
        self.head = nn.Linear(4 + 2 + 3, 3)

    def forward(self, x):
        left = torch.tanh(self.shared(x))
        right = self.shared(left * x)
        both = torch.stack([left, right], 1) @ torch.stack([x, left, right], 2)
        a, b = self.last(torch.cat([left, right], 1)).chunk(2, 1)
        return self.head(torch.cat([a * torch.tanh(b), right[:, 1::2], both.flatten(1)[:, ::2]], 1))


def smoothed(outputs, y):
    """A loss of one's own: smoothed labels, classes that weigh differently."""
    return F.cross_entropy(outputs, y, torch.tensor([0.5, 2.0, 1.0]), label_smoothing=0.2)


class Tags(nn.Module):
    """Several labels per sample may hold."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))


SEQUENCES = {
    "vit": (Vit, (1, 8, 8), "cross_entropy"),
    "lstm": (Lstm, (3, 3), "cross_entropy"),
    "gru": (Gru, (3, 3), "cross_entropy"),
    "branches": (Branches, (5,), "cross_entropy"),
}
LOSSES = {
    "tags": (Tags, (4,), "bce"),
    "smoothed": (Tags, (4,), "tests.exporter.sequence_networks:smoothed"),
}
