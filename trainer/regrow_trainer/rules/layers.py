"""Which layer a parameter belongs to, told from names and shapes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def owners(shapes: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Each parameter's weight: the convolution or linear weight whose outputs it belongs to.

    A bias stands beside its weight; a norm's scale and shift follow the weight before them that has as many
    outputs. What fits no weight, because none is there, owns itself.

    >>> owners({"conv.weight": (8, 1, 3, 3), "norm.bias": (8,), "head.bias": (5,)})
    {'conv.weight': 'conv.weight', 'norm.bias': 'conv.weight', 'head.bias': 'head.bias'}
    """
    made: dict[str, str] = {}
    weights: list[str] = []
    for name, shape in shapes.items():
        if len(shape) >= 2:
            weights.append(name)
            made[name] = name
            continue
        place = name.rpartition(".")[0]
        beside = [w for w in weights if w.rpartition(".")[0] == place]
        before = [w for w in weights if len(shape) == 1 and shapes[w][0] == shape[0]]
        made[name] = (beside or before or [name])[-1]
    return made


def norms(shapes: Mapping[str, Sequence[int]]) -> set[str]:
    """The parameters of layers that have no weight of two or more dimensions."""
    layers = {name.rpartition(".")[0] for name, shape in shapes.items() if len(shape) >= 2}
    return {name for name in shapes if name.rpartition(".")[0] not in layers}
