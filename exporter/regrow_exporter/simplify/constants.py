"""What is computed from frozen tensors alone is computed here, once, instead of on every run."""

from dataclasses import replace
from math import prod

from regrow_exporter.simplify.net import Array, Net

# Values that a program makes from nothing cost no more than reading them.
_LITERAL = ("constant", "literal", "full")


def fold_constants(net: Net) -> int:
    """Replace such values by tensors no larger than what they come from; returns how many."""
    fixed = net.fixed()
    # What each value that can be folded comes from; a value that is too large to fold is not in here.
    sources: dict[str, frozenset[str]] = {name: frozenset([name]) for name in net.tensors}
    done: dict[str, Array] = {}
    for op in net.ops:
        outputs = [name for name in op.outputs if name]
        if not all(name in sources for name in op.inputs) or not all(name in fixed for name in outputs):
            continue
        origin = frozenset().union(*(sources[name] for name in op.inputs))
        if op.kind in _LITERAL:
            sources |= dict.fromkeys(outputs, frozenset())
        elif origin and _fits(net, outputs, origin):
            sources |= dict.fromkeys(outputs, origin)
            done |= {name: fixed[name] for name in outputs}
    kept = [op for op in net.ops if op.outputs[0] not in done]
    wanted = dict.fromkeys([name for op in kept for name in op.inputs] + list(net.outputs))
    net.ops = kept
    origins = {name: sources[name] for name in wanted if name in done}
    net.rename({name: _stored(net, done[name], name, origins) for name in origins})
    return len(origins)


def _fits(net: Net, outputs: list[str], origin: frozenset[str]) -> bool:
    """Whether the values are numbers of the network, and no more of them than there were."""
    size = sum(prod(net.values[name].shape) for name in outputs)
    floats = all(net.values[name].dtype == "float32" for name in outputs)
    return floats and size <= sum(prod(net.values[name].shape) for name in origin)


def _stored(net: Net, array: Array, value: str, origins: dict[str, frozenset[str]]) -> str:
    """A tensor of its own; a parameter that only this value was made of keeps its name."""
    (first, *others) = sorted(origins[value])
    alone = not others and not net.reads(first) and sum(first in origin for origin in origins.values()) == 1
    if not alone:
        return net.add(f"{first}.folded", array)
    net.tensors[first] = array
    net.values[first] = replace(net.values[first], shape=array.shape)
    return first
