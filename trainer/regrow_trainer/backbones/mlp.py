"""A multi-layer perceptron with ReLU; 1-40-40-1 is the sine network of the literature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MLP(nn.Module):
    """`hidden` layers with ReLU between a flattened input and a linear `head`."""

    def __init__(
        self, input_shape: Sequence[int] = (1,), outputs: int = 1, hidden: Sequence[int] = (40, 40)
    ) -> None:
        super().__init__()
        widths = [math.prod(input_shape), *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(x, 1)
        for layer in self.layers:
            x = F.relu(layer(x))
        head: Tensor = self.head(x)
        return head
