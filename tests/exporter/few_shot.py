"""Few-shot problems that take milliseconds: clouds of points, and a network that can learn to part them."""

import numpy as np
import torch
from torch import nn

from regrow.episodes.files import Arrays

FEATURES, WAYS = 6, 3


def clouds(classes=12, samples=14, spread=0.7):
    """A class source of Gaussian clouds."""
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(classes, FEATURES)) * 2
    data = [(c + rng.normal(size=(samples, FEATURES)) * spread).astype(np.float32) for c in centres]
    return Arrays([f"c{i}" for i in range(classes)], data)


class Parting(nn.Module):
    """Two layers under a head: every kind of adaptable set differs from the others."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, 16)
        self.middle = nn.Linear(16, 12)
        self.head = nn.Linear(12, WAYS)

    def forward(self, x):
        return self.head(torch.relu(self.middle(torch.relu(self.body(x)))))


def parting():
    """The network, the same every time."""
    torch.manual_seed(3)
    return Parting()


def example():
    """A few samples, as the network takes them."""
    return torch.from_numpy(clouds().take(0, np.arange(6)))
