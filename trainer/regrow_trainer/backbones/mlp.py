"""A multi-layer perceptron with ReLU; 1-40-40-1 is the sine network of the literature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regrow_trainer.backbones.context import empty_context, joined


class MLP(nn.Module):
    """`hidden` layers with ReLU between a flattened input and a linear `head`.

    A `context` of that many numbers joins the input.
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1,),
        outputs: int = 1,
        hidden: Sequence[int] = (40, 40),
        context: int = 0,
    ) -> None:
        super().__init__()
        self.context = empty_context(context) if context else None
        widths = [math.prod(input_shape) + context, *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(x, 1)
        if self.context is not None:
            x = joined(x, self.context)
        for layer in self.layers:
            x = F.relu(layer(x))
        head: Tensor = self.head(x)
        return head
