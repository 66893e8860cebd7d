"""The networks exported in every usual way, and docs/coverage.md: `python -m tests.exporter.covered`.

They are small sisters of what runs on devices, so that every adaptable set, rule and batch of every one can
be tried; `benchmarks/networks.py` has the sizes that are timed.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.networks import Mobile, ResNet18, Transformer
from regrow_exporter.coverage import document
from regrow_trainer.backbones.conv1d import Conv1d
from regrow_trainer.backbones.mlp import MLP
from regrow_trainer.backbones.resnet import ResNet12, ResNet20
from tests.exporter.networks import NETWORKS
from tests.exporter.test_sharing import SharedConv, TiedHead

WAYS = 3
# Adaptable sets of every network; the last block comes with the head and is named per network.
SETS = {"all": ["*"], "head": ["@head"], "last block": ["@head"], "bias+norm": ["@norm+bias"]}
BATCHES = (1, 5, 25)
RULES = {"sgd": 0.05, "momentum": 0.05, "adam": 0.01}


@dataclass(frozen=True)
class Covered:
    """What there is to a network, how it is made, which parameters are its last block."""

    about: str
    last: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    loss: str = "cross_entropy"
    every_rule: bool = False

    def build(self) -> nn.Module:
        """Always the same weights, and no vector at a special value."""
        torch.manual_seed(0)
        module = self.make()
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        return module

    def patterns(self, chosen: str) -> list[str]:
        return [*SETS[chosen], *([self.last] if chosen == "last block" else [])]

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(RULES) if self.every_rule else ("sgd",)


def known(name: str, about: str, last: str, every_rule: bool = False) -> Covered:
    """One of the networks that other tests take apart."""
    return Covered(about, last, *NETWORKS[name], every_rule)


COVERED = {
    "conv4": known("conv4", "batch norm, ReLU, max-pooling", "blocks.2.*", True),
    "conv4, strided": known("strided", "strides for pooling", "blocks.1.*"),
    "mlp": Covered("linear layers", "layers.1.*", lambda: MLP((5,), WAYS, (6, 6)), (5,), every_rule=True),
    "resnet12": Covered(
        "projected shortcuts, ReLU, pooling",
        "blocks.1.*",
        lambda: ResNet12((2, 9, 9), WAYS, (3, 4)),
        (2, 9, 9),
        every_rule=True,
    ),
    "resnet12, leaky": known("residual", "one block, leaky ReLU", "convs.2.*"),
    "resnet20": Covered(
        "nine basic blocks, three of them strided or projected",
        "blocks.8.*",
        lambda: ResNet20((2, 12, 12), WAYS, (3, 4, 5)),
        (2, 12, 12),
    ),
    "resnet18": Covered(
        "7x7 strided stem, overlapping pool, tracked norms", "blocks.1.*", lambda: ResNet18(4), (3, 24, 24)
    ),
    "mobile": known("mobile", "inverted residuals, squeeze-excite, hard swish", "last.*", True),
    "mobilenet": Covered("MobileNetV2-like: ReLU6", "blocks.4.*", lambda: Mobile(False), (3, 16, 16)),
    "efficientnet": Covered(
        "EfficientNet-like: swish, 5x5 depthwise, squeeze-excite",
        "blocks.4.*",
        lambda: Mobile(True),
        (3, 16, 16),
    ),
    "1-D CNN": known("signal", "group norm, dilation, both pools, ELU, softplus", "last.*", True),
    "1-D CNN, normed": Covered(
        "batch norm over a signal", "blocks.2.*", lambda: Conv1d((3, 24), WAYS, 6, 3), (3, 24)
    ),
    "audio": known("audio", "depthwise-separable, causal padding, instance norm, GELU", "last.*"),
    "lstm": known("lstm", "two layers over a fixed length", "last.*", True),
    "gru": known("gru", "both directions, time first", "last.*", True),
    "vit": known("vit", "patches, class token, two attention blocks", "last.*", True),
    "transformer": Covered(
        "attention blocks under a mean, GELU",
        "blocks.1.*",
        lambda: Transformer(1, 4, False, 8),
        (1, 8, 8),
        every_rule=True,
    ),
    "norms": known("norms", "instance, group and layer norm, attention pooling", "last.*"),
    "frozen norm": known("frozen", "batch norm by running statistics", "norm.*"),
    "tracked norm": known("tracked", "batch norm that tracks, by support statistics", "last.*"),
    "mixed": known("mixed", "groups, dilation, overlapping pool, arithmetic of parameters", "low.*"),
    "branches": known("branches", "concatenation, a layer used twice, products", "last.*"),
    "shared convolution": Covered(
        "one weight in two layers, one norm after three", "first.*", SharedConv, (1, 6, 6)
    ),
    "tied head": Covered("an embedding as the head's weight", "mix.*", TiedHead, (4, 6)),
    "regression": known("sine", "mean squared error", "body.2.*"),
    "tags": known("tags", "binary cross-entropy", "body.*"),
    "own loss": known("smoothed", "a loss of one's own, with class weights", "body.*"),
}


def networks() -> str:
    """The table of the page."""
    rows = [
        f"| {name} | {c.about} | {'x'.join(map(str, c.shape))} | {', '.join(c.rules)} |"
        for name, c in COVERED.items()
    ]
    intro = f"""
## Networks

Each of these is exported with every adaptable set ({", ".join(SETS)}) and proven on every engine; the bundle
then adapts on each engine, in batches of {", ".join(map(str, BATCHES))}, as in fp64. `make test` tries
every network and every rule once, `make test-all` every combination.

| network | what is in it | input | rules |
|---|---|---|---|
"""
    return intro + "\n".join(rows) + "\n"


def page() -> str:
    """docs/coverage.md."""
    return document() + networks()


if __name__ == "__main__":
    sys.stdout.write(page())
