"""Join a convolution with the block behind it, so that what lies between them is never kept whole.

Forward it is made a few channels at a time. Backward makes it again, some samples at a time, where that costs
less than to write and read it, or everywhere where memory is what counts; the gradient of the layer's
input then takes the place of that input, and what the block before needs of both is summed on the way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from regrow.ops.schema import ints
from regrow.plan.peak import value_bytes
from regrow.plan.style import Style
from regrow.plan.winograd import suits
from regrow.program import Op, Program

# Positions of a filter up to which a convolution is made twice rather than kept.
CHEAP = 32
# Bytes of an input that stays in the second cache while it is read again for every few filters.
NEAR = 512 * 1024
# Samples from which halves and a wide one of them are clearly less than all of them wide.
FEWEST = 3


@dataclass(frozen=True)
class Chain(Op):
    """One op of a plan made of several of a program; `parts` are those, in order.

    `before` is the gradient of the block before, where this op takes its sums; `summed` says that its own
    block's were taken so. `halved` are the values that are kept in fp16.
    """

    parts: tuple[Op, ...] = ()
    before: Op | None = None
    summed: bool = False
    halved: frozenset[str] = frozenset()


@dataclass(eq=False)
class _Layer:
    """A convolution and its block; then their gradients, where it can be made again."""

    conv: Op
    block: Op
    back: Op | None = None
    gradients: tuple[Op, ...] = ()  # of the weight, and of the input where that is wanted


def chained(
    ops: Sequence[Op], program: Program, style: Style, batch: int, packs: Collection[str]
) -> list[Op]:
    """The ops with chains joined."""
    readers: dict[str, list[Op]] = {}
    maker: dict[str, Op] = {}
    for op in ops:
        for name in dict.fromkeys(op.inputs):
            readers.setdefault(name, []).append(op)
        maker.update({name: op for name in op.outputs if name})
    apart = {op.outputs[0] for op in ops if suits(op, program.values, batch, style, packs)}
    blocks = [op for op in ops if op.kind == "block" and op.inputs[0] not in apart]
    found = [_layer(op, readers, maker, program, style, batch) for op in blocks]
    layers = _consistent([layer for layer in found if layer is not None], readers, maker)
    at: dict[int, Op] = {}
    gone: set[int] = set()
    halved = _halved(layers, readers, program) if style.half and batch >= FEWEST else frozenset()
    for layer in layers:
        gone.add(id(layer.conv))
        at[id(layer.block)] = replace(_joined("chain", (layer.conv, layer.block)), halved=halved)
        if layer.back is not None:
            gone |= {id(layer.back), *map(id, layer.gradients)}
            at[id(layer.gradients[-1])] = replace(_back(layer, layers), halved=halved)
    return _in_order([at.get(id(op), op) for op in ops if id(op) not in gone or id(op) in at], program)


def _layer(
    block: Op, readers: dict[str, list[Op]], maker: dict[str, Op], program: Program, style: Style, batch: int
) -> _Layer | None:
    z = block.inputs[0]
    conv = maker.get(z)
    if conv is None or conv.kind != "conv2d" or conv.attrs["groups"] != 1 or z in program.outputs:
        return None
    others = [op for op in readers[z] if op is not block]
    if not others:
        near = value_bytes(program.values[conv.inputs[0]], batch) <= NEAR
        return _Layer(conv, block) if near or style.recompute or _is_cheap(conv, program) else None
    back = others[0]
    if len(others) > 1 or back.kind != "block_back" or ints(conv.attrs, "stride") != (1, 1):
        return None
    dz, x = back.outputs[0], conv.inputs[0]
    gradients = readers.get(dz, []) if dz and dz not in program.outputs else []
    weight = [op for op in gradients if op.kind == "conv2d_dw" and op.inputs == (dz, x)]
    inputs = [op for op in gradients if op.kind == "conv2d_dx" and op.inputs == (dz, conv.inputs[1])]
    if len(weight) != 1 or len(inputs) > 1 or len(gradients) != 1 + len(inputs):
        return None
    if not style.recompute and (inputs or not _is_cheap(conv, program)):
        return None
    if inputs and (x in program.outputs or x not in maker or not _keeps_size(program, z, x)):
        return None
    return _Layer(conv, block, back, (*weight, *inputs))


def _is_cheap(conv: Op, program: Program) -> bool:
    return prod(program.values[conv.inputs[1]].shape[1:]) <= CHEAP


def _keeps_size(program: Program, z: str, x: str) -> bool:
    return program.values[z].shape[2:] == program.values[x].shape[2:]


def _consistent(layers: list[_Layer], readers: dict[str, list[Op]], maker: dict[str, Op]) -> list[_Layer]:
    """Those whose input may be replaced by its gradient: nobody else reads it who could not do without."""
    while True:
        backs = [layer.back for layer in layers if layer.back is not None]
        kept = [
            layer for layer in layers if len(layer.gradients) < 2 or _owns_input(layer, backs, readers, maker)
        ]
        if len(kept) == len(layers):
            return layers
        layers = kept


def _owns_input(
    layer: _Layer, backs: Iterable[Op], readers: dict[str, list[Op]], maker: dict[str, Op]
) -> bool:
    x, (weight, dx) = layer.conv.inputs[0], layer.gradients
    if maker[x].kind != "block":
        return False
    own = {id(layer.conv), id(weight)}
    own |= {id(back) for back in backs if back.inputs[0] == dx.outputs[0] and back.inputs[-1] == x}
    return all(id(op) in own for op in readers[x])


def _halved(layers: Sequence[_Layer], readers: Mapping[str, list[Op]], program: Program) -> frozenset[str]:
    """Inputs of layers that only such layers read and make, and the gradients that take their place."""
    made_by = {layer.block.outputs[0]: layer for layer in layers}
    found: set[str] = set()
    for layer in layers:
        x = layer.conv.inputs[0]
        maker = made_by.get(x)
        if maker is None or x in program.outputs or ints(layer.conv.attrs, "stride") != (1, 1):
            continue
        own, names = [layer.conv], {x}
        if layer.back is not None:
            if len(layer.gradients) < 2 or not _follows(layer, maker):
                continue
            dx = layer.gradients[1].outputs[0]
            if dx in program.outputs or readers[dx] != [maker.back]:
                continue
            own += [layer.gradients[0], *([maker.back] if maker.back else [])]
            names.add(dx)
        if {*map(id, readers[x])} <= {*map(id, own)}:
            found |= names
    return frozenset(found)


def _joined(kind: str, parts: tuple[Op, ...]) -> Chain:
    """Reads what its parts read of others; makes what its last parts make for others."""
    inner = {part.outputs[0] for part in parts[:-1]}
    inputs = tuple(dict.fromkeys(n for part in parts for n in part.inputs if n not in inner))
    return Chain(kind, inputs, parts[-1].outputs, {}, parts[0].source, parts)


def _back(layer: _Layer, layers: Sequence[_Layer]) -> Chain:
    assert layer.back is not None
    back, y = layer.back, layer.block.outputs[0]
    summed = any(len(o.gradients) == 2 and o.conv.inputs[0] == y and _follows(o, layer) for o in layers)
    if summed and back.inputs[-1] == y:
        back = replace(back, inputs=back.inputs[:-1])
    made = _joined("chain_back", (layer.conv, back, layer.gradients[0]))
    outputs = (
        layer.gradients[0].outputs[0],
        *back.outputs[1:],
        *(op.outputs[0] for op in layer.gradients[1:]),
    )
    before = None
    if len(layer.gradients) == 2:
        before = next(
            (o.back for o in layers if o.block.outputs[0] == layer.conv.inputs[0] and _follows(layer, o)),
            None,
        )
    return replace(
        made, outputs=outputs, parts=(*made.parts, *layer.gradients[1:]), before=before, summed=summed
    )


def _follows(layer: _Layer, other: _Layer) -> bool:
    """Whether one's input gradient is all that the other's block has from above."""
    return other.back is not None and other.back.inputs[0] == layer.gradients[1].outputs[0]


def _in_order(ops: Sequence[Op], program: Program) -> list[Op]:
    """The ops, those that now come before an operand moved behind it."""
    made, order, waiting = {""}, [], list(ops)
    made.update(program.inputs)
    while waiting:
        left = []
        for op in waiting:
            if made.issuperset(op.inputs):
                order.append(op)
                made.update(op.outputs)
            else:
                left.append(op)
        if len(left) == len(waiting):  # a value no op makes: lowering says so
            return order + left
        waiting = left
    return order
