"""Join a convolution with the block behind it where nobody else needs what lies between them.

It is then made a few channels at a time and never kept whole. Where the block has a gradient but the
convolution's input has none, backward makes it again: for a kernel over few channels that costs less than to
write and read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from regrow.ops.schema import ints
from regrow.program import Op, Program

# Positions of a filter up to which a convolution is made twice instead of kept.
CHEAP = 32


@dataclass(frozen=True)
class Chain(Op):
    """One op of a plan made of several of a program; `parts` are those, in order."""

    parts: tuple[Op, ...] = ()


def chained(ops: Sequence[Op], program: Program) -> list[Op]:
    """The ops with chains joined."""
    readers: dict[str, list[Op]] = {}
    maker: dict[str, Op] = {}
    for op in ops:
        for name in dict.fromkeys(op.inputs):
            readers.setdefault(name, []).append(op)
        maker.update({name: op for name in op.outputs if name})
    gone: set[int] = set()
    at: dict[int, Op] = {}
    for op in ops:
        if op.kind == "block":
            _join(op, readers, maker, program, gone, at)
    return [at.get(id(op), op) for op in ops if id(op) not in gone]


def _join(
    block: Op,
    readers: dict[str, list[Op]],
    maker: dict[str, Op],
    program: Program,
    gone: set[int],
    at: dict[int, Op],
) -> None:
    z = block.inputs[0]
    conv = maker.get(z)
    if conv is None or conv.kind != "conv2d" or conv.attrs["groups"] != 1 or z in program.outputs:
        return
    others = [op for op in readers[z] if op is not block]
    if others:
        back = others[0]
        gradient = _only_reader(back.outputs[0], readers, program)
        if len(others) > 1 or back.kind != "block_back" or gradient is None or not _is_cheap(conv, program):
            return
        if gradient.kind != "conv2d_dw" or gradient.inputs != (back.outputs[0], conv.inputs[0]):
            return
        gone.add(id(back))
        at[id(gradient)] = _chain("chain_back", (conv, back, gradient))
    gone.add(id(conv))
    at[id(block)] = _chain("chain", (conv, block))


def _only_reader(name: str, readers: dict[str, list[Op]], program: Program) -> Op | None:
    found = readers.get(name, []) if name and name not in program.outputs else []
    return found[0] if len(found) == 1 else None


def _is_cheap(conv: Op, program: Program) -> bool:
    return prod(program.values[conv.inputs[1]].shape[1:]) <= CHEAP and ints(conv.attrs, "stride") == (1, 1)


def _chain(kind: str, parts: tuple[Op, ...]) -> Chain:
    """Reads what its parts read of others; makes what its last parts make for others."""
    inner = {part.outputs[0] for part in parts[:-1]}
    inputs = tuple(dict.fromkeys(n for part in parts for n in part.inputs if n not in inner))
    made = parts[-1].outputs if kind == "chain" else (parts[-1].outputs[0], *parts[1].outputs[1:])
    return Chain(kind, inputs, made, {}, parts[0].source, parts)
