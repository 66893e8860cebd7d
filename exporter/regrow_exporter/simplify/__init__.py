"""Make a captured network smaller before it is differentiated and packed, its outputs unchanged.

Constants are folded, norms by running statistics go into the layer before them, and channels that are dead
are cut out. Nothing adaptable changes its shape or its values, nor what its gradient is: channels that an
adaptable parameter belongs to stay. Everything is computed in fp64; what the file stores is rounded later.
The proof of an export compares the simplified programs with the network as the user gave it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from regrow.program import Op
from regrow.values import Mask
from regrow_exporter.graph import Graph, needed
from regrow_exporter.simplify.constants import fold_constants
from regrow_exporter.simplify.coupling import Coupling
from regrow_exporter.simplify.cut import cut_channels, replayed, still_constants
from regrow_exporter.simplify.known import constants
from regrow_exporter.simplify.net import LAYERS, Array, Floats, Net, widened
from regrow_exporter.simplify.norms import fold_norms

# A tensor of this share of zeros was made of a pruned one, whatever it is called now.
_SPARSE = 0.25


@dataclass(frozen=True, eq=False)
class Simplified:
    """What was changed: frozen tensors with new values, in fp64, and what to say about it."""

    tensors: Mapping[str, Floats] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)

    def masks(self, masks: Mapping[str, Mask]) -> dict[str, Mask]:
        """Which positions to store: what is frozen is pruned where it is zero."""
        made = dict(masks)
        for name, array in self.tensors.items():
            kept = np.asarray(array != 0)
            if name in masks or (array.ndim > 1 and 1 - kept.mean() > _SPARSE):
                made[name] = kept
        return made


AS_CAPTURED = Simplified()


def simplify(
    graph: Graph,
    outputs: Sequence[str],
    statistics: Mapping[str, tuple[str, str]],
    tensors: Mapping[str, Array],
    zeros: Mapping[str, Mask],
) -> tuple[Graph, dict[str, str], Simplified]:
    """The smaller graph, the new name of every value in it, and what became of the frozen tensors.

    `outputs` are read whole from outside; `statistics` may shrink with the channels that they describe.
    `zeros` says of what is adaptable where it is zero and stays so.
    """
    wanted = [*outputs, *(name for pair in statistics.values() for name in pair)]
    alive = {name for op in needed(graph.ops, wanted) for name in op.outputs if name}
    ops = [op for op in graph.ops if alive.intersection(op.outputs)]
    frozen = {n: widened(a) for n, a in tensors.items() if graph.values[n].role == "frozen"}
    net = Net(dict(graph.values), ops, tuple(outputs), dict(frozen), dict(zeros))
    before = _rows(net.ops, net)
    record: dict[str, Any] = {"constants": fold_constants(net), "norms": fold_norms(net)}
    net.ops = _read(net, wanted)
    known = constants(net)
    kept = Coupling(net, known).kept()
    cut = sorted(kept.keys() & frozen.keys())
    # Vectors are as long as the rows of the layer they belong to.
    shapes = {n: list(net.values[n].shape) for n in cut if len(net.values[n].shape) > 1}
    still_constants(net, known, kept)
    cut_channels(net, known, kept)
    changed = {n: a for n, a in net.tensors.items() if a is not frozen.get(n)}
    if not changed:
        return graph, {name: name for name in graph.values}, AS_CAPTURED
    after = _rows(net.ops, net)
    record |= {"channels": {"removed": before - after, "of": before}, "shapes": shapes}
    small, names = replayed(net)
    names |= {old: names[new] for old, new in zip(outputs, net.outputs, strict=True)}
    return small, names, Simplified(changed, record)


def _read(net: Net, wanted: Sequence[str]) -> list[Op]:
    """The ops that are still read."""
    alive = {name for op in needed(net.ops, [*wanted, *net.outputs]) for name in op.outputs if name}
    return [op for op in net.ops if alive.intersection(op.outputs)]


def _rows(ops: Sequence[Op], net: Net) -> int:
    """Filters and units of all layers."""
    weights = dict.fromkeys(op.inputs[1] for op in ops if op.kind in LAYERS)
    return sum(prod(net.values[name].shape[:1]) for name in weights)
