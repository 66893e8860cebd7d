"""The rows of the table: a workload, how much of it is pruned, how many times faster the engine should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from benchmarks.networks import ResNet12
from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.backbones.mlp import MLP

STEPS, LR, WAYS = 5, 0.01, 5
EAGER, LAST, ONNX = "torch", "torch channels_last", "onnx"
# The least that counts as reached: this share of a target, on the lower end of the 95 % interval.
REACHED = 0.8


@dataclass(frozen=True)
class Workload:
    """A network, its input, and how many samples it adapts to."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    samples: int


@dataclass(frozen=True)
class Row:
    """One line: `targets` say how many times slower each subject should be."""

    work: Workload
    sparsity: float
    targets: Mapping[str, float]
    subjects: tuple[str, ...] = (EAGER, LAST, ONNX)
    adaptable: tuple[str, ...] = ("*",)
    small: float = field(default=0.0)  # KiB that the small plan may take; 0 where none is asked
    half: float = field(default=0.0)  # and that which keeps activations in fp16

    @property
    def name(self) -> str:
        part = "" if self.adaptable == ("*",) else ", head only"
        return f"{self.work.name}{part}, {self.sparsity:.0%} pruned"


def _conv4(width: int, channels: int, size: int) -> Callable[[], nn.Module]:
    return lambda: Conv4((channels, size, size), WAYS, width, 4)


W1 = Workload("W1 Conv4-64 28x28, 5 samples", _conv4(64, 1, 28), (1, 28, 28), 5)
HALF = Workload("W1 with half of the channels", _conv4(32, 1, 28), (1, 28, 28), 5)
QUARTER = Workload("W1 with a quarter of the channels", _conv4(16, 1, 28), (1, 28, 28), 5)
W2 = Workload("W2 Conv4-32 84x84, 5 samples", _conv4(32, 3, 84), (3, 84, 84), 5)
W2_25 = Workload("W2 Conv4-32 84x84, 25 samples", _conv4(32, 3, 84), (3, 84, 84), 25)
W3 = Workload("W3 ResNet-12 84x84, 5 samples", ResNet12, (3, 84, 84), 5)
W4 = Workload("W4 MLP 40-64-64-5, 25 samples", lambda: MLP((40,), WAYS, (64, 64)), (40,), 25)

ROWS = (
    Row(W1, 0.0, {EAGER: 3.5, "fastest other": 2.5}),
    Row(W1, 0.85, {EAGER: 8, "fastest other": 5}),
    Row(W1, 0.9, {EAGER: 11, "fastest other": 7}, small=560),
    Row(W1, 0.95, {EAGER: 16, "fastest other": 10}),
    Row(HALF, 0.0, {EAGER: 6}, (EAGER, LAST)),
    Row(HALF, 0.9, {}, (EAGER,), small=256, half=200),
    Row(QUARTER, 0.0, {EAGER: 12}, (EAGER, LAST)),
    Row(W2, 0.0, {EAGER: 3.5, LAST: 2.5}, (EAGER, LAST)),
    Row(W2, 0.9, {EAGER: 9.5, LAST: 6.5}, (EAGER, LAST)),
    Row(W2_25, 0.0, {LAST: 2}, (EAGER, LAST)),
    Row(W2_25, 0.9, {LAST: 4}, (EAGER, LAST)),
    Row(W3, 0.0, {EAGER: 1.3}, (EAGER,)),
    Row(W3, 0.9, {EAGER: 3}, (EAGER,)),
    Row(W4, 0.0, {EAGER: 6}, (EAGER,)),
    Row(W4, 0.9, {EAGER: 9}, (EAGER,)),
    Row(W1, 0.0, {EAGER: 5}, (EAGER,), adaptable=("head.*",)),
)
