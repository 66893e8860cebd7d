"""How large a scratch each layer's gradient may have where memory counts: as what costs none elsewhere.

Memory is at its peak in one layer's gradient, where one sample at a time is all there is room for. In the
others more samples at once take what that peak leaves free, and waste less of every vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from regrow.plan.builder import Builder
from regrow.plan.chain import Chain
from regrow.plan.convs import grid_of
from regrow.plan.peak import value_bytes
from regrow.program import Op


def free_tiles(b: Builder, ops: Sequence[Op]) -> dict[int, int]:
    """Bytes that the scratch of an op may take, by the op's id, for gradients of layers."""
    chains = [op for op in ops if isinstance(op, Chain)]
    inputs = [op.parts[0].inputs[0] for op in chains if op.kind == "chain"]
    held: dict[str, int] = {}  # until this layer's gradient: its input, and those of the layers before
    for at, x in enumerate(inputs):
        held[x] = sum(_kept(b, name, chains[0]) for name in dict.fromkeys(inputs[: at + 1]))
    backs = [op for op in chains if op.kind == "chain_back"]
    busy = {id(op): held.get(op.parts[0].inputs[0], 0) + _beside(b, op) for op in backs}
    peak = max((busy[id(op)] + _one_sample(b, op) for op in backs), default=0)
    return {i: max(0, peak - size) // 2 for i, size in busy.items()}


def _kept(b: Builder, name: str, op: Chain) -> int:
    grid, channels = b.wanted.get(name), b.extents(name)[1]
    whole = 4 * grid.floats(channels) if grid else value_bytes(b.values[name], b.batch)
    return whole // 2 if name in op.halved else whole


def _beside(b: Builder, op: Chain) -> int:
    """What else is there: the gradient from above, the weights' gradient, and those in its order."""
    conv, back, *_ = op.parts
    weight = conv.inputs[1]
    packed = 8 * b.packs[weight] if weight in b.packs else 4 * prod(b.values[weight].shape)
    return _kept(b, back.inputs[0], op) + packed


def _one_sample(b: Builder, op: Chain) -> int:
    conv, _, _, *inputs = op.parts
    if not inputs:
        return 0
    planes = b.extents(conv.outputs[0])[1] + (
        b.extents(conv.inputs[0])[1] if conv.inputs[0] in op.halved else 0
    )
    return 4 * planes * grid_of(b, conv).sample
