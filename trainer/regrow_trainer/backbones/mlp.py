"""A multi-layer perceptron with ReLU; 1-40-40-1 is the sine network of the literature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regrow_trainer.backbones.context import empty_context, joined
from regrow_trainer.norm import BatchNorm


class MLP(nn.Module):
    """`hidden` layers with ReLU between a flattened input and a linear `head`.

    A `context` of that many numbers joins the input. With `norm` the input and every hidden layer pass a
    batch norm, which takes out what a sensor's drift multiplies and adds.
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1,),
        outputs: int = 1,
        hidden: Sequence[int] = (40, 40),
        context: int = 0,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.context = empty_context(context) if context else None
        widths = [math.prod(input_shape) + context, *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(BatchNorm(width) for width in widths) if norm else None
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(x, 1)
        if self.context is not None:
            x = joined(x, self.context)
        if self.norms is not None:
            x = self.norms[0](x)
        for number, layer in enumerate(self.layers, 1):
            x = layer(x)
            x = F.relu(x if self.norms is None else self.norms[number](x))
        head: Tensor = self.head(x)
        return head
