"""The work every peer of the benchmark does: five networks as plain lists of layers, and the cases made of
them.

A layer is a tuple: its kind, the name of its parameters where it has any, and its numbers. Each peer reads
the list in its own words, so that all run the same network without sharing a line of code.

    ("conv", name, out, kernel, stride, groups)   no bias, padded by half of the kernel
    ("norm", name)                                by the statistics of the batch, with gain and shift
    ("linear", name, out)
    ("relu",)  ("pool",)  ("mean",)  ("flatten",) pool: the largest of two by two; mean: over the image
    ("residual", layers, layers)                  the sum of two branches
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

Layer = tuple[Any, ...]
Layers = tuple[Layer, ...]
Shape = tuple[int, ...]
Chosen = Literal["all", "kept", "complement", "last", "head", "norm+bias"]

WAYS, STEPS, QUERIES = 5, 5, 75


@dataclass(frozen=True)
class Workload:
    """A network, its input, how many samples it adapts to, and what its last block is called."""

    title: str
    layers: Layers
    shape: Shape
    support: int
    rate: float
    last: tuple[str, ...]  # the layers of the last block, the head aside


@dataclass(frozen=True)
class Work:
    """One case of the benchmark, by name."""

    workload: str
    pruning: str  # dense, 85 %, 90 %, 95 % or half, quarter: the share of channels that is left
    chosen: Chosen

    @property
    def name(self) -> str:
        """As a file name."""
        return f"{self.workload}-{self.pruning}-{self.chosen}".replace(" %", "").replace("+", "")

    @property
    def twin(self) -> Work:
        """The same for those that cannot keep weights at zero: dense, everything adaptable."""
        return Work(self.workload, "dense", "all") if self.sparsity else self

    @property
    def sparsity(self) -> float:
        """The share of the weights that is gone one by one."""
        return float(self.pruning.rstrip(" %")) / 100 if self.pruning.endswith("%") else 0.0


def conv4(width: int) -> Layers:
    """Four blocks of convolution, norm, ReLU and pooling."""
    blocks = [
        (("conv", f"conv{i}", width, 3, 1, 1), ("norm", f"norm{i}"), ("relu",), ("pool",)) for i in range(4)
    ]
    return (*(layer for block in blocks for layer in block), ("flatten",), ("linear", "head", WAYS))


def resnet12(widths: tuple[int, ...]) -> Layers:
    """Four residual blocks of three convolutions each."""
    made: list[Layer] = []
    for i, width in enumerate(widths):
        main: list[Layer] = []
        for j in range(3):
            main += [("conv", f"conv{i}{j}", width, 3, 1, 1), ("norm", f"norm{i}{j}"), ("relu",)]
        short = (("conv", f"short{i}", width, 1, 1, 1), ("norm", f"snorm{i}"))
        made += [("residual", tuple(main[:-1]), short), ("relu",), ("pool",)]
    return (*made, ("mean",), ("linear", "head", WAYS))


def mlp(widths: tuple[int, ...]) -> Layers:
    """Linear layers with ReLU between."""
    made: list[Layer] = []
    for i, width in enumerate(widths):
        made += [("linear", f"linear{i}", width), ("relu",)]
    return (*made, ("linear", "head", WAYS))


def keywords(width: int) -> Layers:
    """A depthwise-separable network for spectrograms, after the small ones used for spoken words."""
    made: list[Layer] = [("conv", "conv0", width, 3, 2, 1), ("norm", "norm0"), ("relu",)]
    for i in range(1, 5):
        made += [("conv", f"deep{i}", width, 3, 1, width), ("norm", f"dnorm{i}"), ("relu",)]
        made += [("conv", f"point{i}", width, 1, 1, 1), ("norm", f"pnorm{i}"), ("relu",)]
    return (*made, ("mean",), ("linear", "head", WAYS))


def workload(name: str, share: float = 1.0) -> Workload:
    """A workload, with this share of its channels."""

    def cut(*widths: int) -> tuple[int, ...]:
        return tuple(int(width * share) for width in widths)

    last = {"W1": ("conv3", "norm3"), "W2": ("conv3", "norm3"), "W4": ("linear1",)}
    deep = (f"{kind}3{j}" for kind in ("conv", "norm") for j in range(3))
    last |= {"W3": (*deep, "short3", "snorm3")}
    last |= {"W5": ("deep4", "dnorm4", "point4", "pnorm4")}
    bare, _, shots = name.partition("s")
    support = WAYS * int(shots or 1)
    (w,) = cut(64)
    made = {
        "W1": ("Conv4-64, 1x28x28", conv4(w), (1, 28, 28), 0.05),
        "W2": ("Conv4-32, 3x84x84", conv4(cut(32)[0]), (3, 84, 84), 0.02),
        "W3": ("ResNet-12, 3x84x84", resnet12(cut(64, 128, 256, 512)), (3, 84, 84), 0.005),
        "W4": ("MLP 40-64-64-5", mlp(cut(64, 64)), (40,), 0.05),
        "W5": ("depthwise keywords, 1x49x40", keywords(w), (1, 49, 40), 0.02),
    }
    title, layers, shape, rate = made[bare]
    return Workload(f"{title}, {support} samples", layers, shape, support, rate, last[bare])


WORKLOADS = ("W1", "W1s5", "W2", "W2s5", "W3", "W4s5", "W5s5")
PRUNED = ("85 %", "90 %", "95 %")
CUT = {"half": 0.5, "quarter": 0.25}


def prepared(work: Work) -> Workload:
    """The workload of a case."""
    return workload(work.workload, CUT.get(work.pruning, 1.0))


def cases(suite: str) -> list[Work]:
    """The cases of a suite, cheapest first within each workload."""
    made = {"short": _short, "readme": _readme, "full": _full}[suite]
    return list(made())


def _short() -> Iterator[Work]:
    yield Work("W4s5", "dense", "all")
    yield Work("W1", "90 %", "kept")


def _readme() -> Iterator[Work]:
    for name in WORKLOADS:
        if name != "W1s5":
            yield Work(name, "dense", "all")
            yield Work(name, "90 %", "kept")
    yield Work("W1", "half", "all")
    yield Work("W1", "dense", "head")
    yield Work("W2", "dense", "head")


def _full() -> Iterator[Work]:
    sets: tuple[Chosen, ...] = ("all", "last", "head", "norm+bias")
    for name in WORKLOADS:
        for chosen in sets:
            yield Work(name, "dense", chosen)
        for pruning in PRUNED:
            yield Work(name, pruning, "kept")
        for chosen in ("complement", "all", "head"):
            yield Work(name, "90 %", chosen)
        for pruning in CUT:
            yield Work(name, pruning, "all")


def parameters(layers: Layers, shape: Shape) -> dict[str, Shape]:
    """The shape of every parameter, in the order of the layers."""
    found: dict[str, Shape] = {}
    for name, made in shaped(layers, shape):
        found |= {f"{name}.{key}": size for key, size in made.items()}
    return found


def shaped(layers: Layers, shape: Shape) -> Iterator[tuple[str, dict[str, Shape]]]:
    """Each layer with parameters and their shapes."""
    for layer, before, _ in traced(layers, shape):
        match layer:
            case ("conv", name, out, kernel, _, groups):
                yield name, {"weight": (out, before[0] // groups, kernel, kernel)}
            case ("norm", name):
                yield name, {"weight": before[:1], "bias": before[:1]}
            case ("linear", name, out):
                yield name, {"weight": (out, before[0]), "bias": (out,)}


def traced(layers: Layers, shape: Shape) -> Iterator[tuple[Layer, Shape, Shape]]:
    """Every layer, those within branches too, with the shape of one sample before and after it."""
    for layer in layers:
        before = shape
        match layer:
            case ("residual", main, short):
                yield from traced(short, before)
                inner = list(traced(main, before))
                yield from inner
                shape = inner[-1][2]
            case ("conv", _, out, _, stride, _):
                shape = (out, *(-(-side // stride) for side in before[1:]))
            case ("linear", _, out):
                shape = (out,)
            case ("pool",):
                shape = (before[0], before[1] // 2, before[2] // 2)
            case ("mean",):
                shape = before[:1]
            case ("flatten",):
                shape = (before[0] * before[1] * before[2],)
        if layer[0] != "residual":
            yield layer, before, shape


def prunable(shapes: dict[str, Shape]) -> list[str]:
    """The weights that pruning takes from: all but the head's."""
    return [name for name, shape in shapes.items() if len(shape) > 1 and not name.startswith("head.")]


def moves(name: str, work: Work, what: Workload, pruned: Container[str]) -> bool:
    """Whether a parameter adapts."""
    layer = name.partition(".")[0]
    match work.chosen:
        case "head":
            return layer == "head"
        case "last":
            return layer == "head" or layer in what.last
        case "norm+bias":
            return "norm" in layer or name.endswith(".bias")
        case "complement":
            return layer == "head" or name in pruned
    return True


def flops(layers: Layers, shape: Shape) -> int:
    """Operations of one sample's forward pass: two per multiply-add of the convolutions and linear layers."""
    return sum(_flops(*step) for step in traced(layers, shape))


def _flops(layer: Layer, before: Shape, after: Shape) -> int:
    match layer:
        case ("conv", _, out, kernel, _, groups):
            return int(2 * out * after[1] * after[2] * (before[0] // groups) * kernel**2)
        case ("linear", _, out):
            return int(2 * out * before[0])
    return 0


def least(work: Work) -> tuple[float, float]:
    """What one adaptation cannot do without: operations, and bytes from and to memory.

    Weights that are zero and stay zero take no part, layers before the first that adapts are run once, and
    gradients are of what adapts and of what lies between it and the loss. Bytes: weights and samples once in,
    what has changed once out. Norms, pooling and activations are left out of both.
    """
    what = prepared(work)
    shapes = parameters(what.layers, what.shape)
    pruned = prunable(shapes) if work.sparsity else []
    left = 1 - work.sparsity
    stays = work.chosen not in ("all", "complement")  # otherwise the zeros are gone after one step
    moved, operations = False, 0.0
    for layer, before, after in traced(what.layers, what.shape):
        if len(layer) < 2 or layer[0] == "residual":
            continue
        weight = f"{layer[1]}.weight"
        own = moves(weight, work, what, pruned)
        share = left if stays and weight in pruned else 1.0
        changed = {"kept": left, "complement": 1 - left}.get(work.chosen, 1.0) if weight in pruned else 1.0
        forward = STEPS if moved or own else 1
        gradients = STEPS * (share * moved + changed * own)
        operations += what.support * _flops(layer, before, after) * (share * forward + gradients)
        moved = moved or own or moves(f"{layer[1]}.bias", work, what, pruned)
    sizes = {name: prod(shape) * (left if name in pruned else 1.0) for name, shape in shapes.items()}
    out = sum(size for name, size in sizes.items() if moves(name, work, what, pruned))
    return operations, 4 * (sum(sizes.values()) + out + what.support * prod(what.shape))
