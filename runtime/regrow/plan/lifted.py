"""Kernels of signals as kernels of images of height one, which is what their convolutions make of them.

A program reshapes such a weight before each convolution and its gradient behind it. Without those reshapes
the weight, its gradient and its state can stay packed; in memory nothing differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from regrow.plan.kept import Kept
from regrow.plan.pointwise import MAPS
from regrow.program import Op, Program

Shape = tuple[int, ...]


def lifted(
    programs: Mapping[str, Program], kept: Mapping[str, Kept]
) -> tuple[dict[str, Program], dict[str, Kept]]:
    """The programs with every weight lifted that can be, and its mask."""
    made, masks = dict(programs), dict(kept)
    for weight, positions in kept.items():
        if positions.mask.ndim != 3:
            continue
        tall = (*positions.mask.shape[:2], 1, positions.mask.shape[2])
        found = {name: _lift(program, weight, tall) for name, program in made.items()}
        whole = {name: program for name, program in found.items() if program is not None}
        if len(whole) == len(made):
            made = whole
            masks[weight] = Kept(positions.mask.reshape(tall), positions.fixed)
    return made, masks


def _lift(program: Program, weight: str, tall: Shape) -> Program | None:
    """One program; None where the weight meets something that needs it as it is."""
    if weight not in program.values:
        return program
    grown = _grown(program, weight)
    if grown is None:
        return None
    # reshaped value -> the value it stands for
    same: dict[str, str] = {}
    ops: list[Op] = []
    for op in program.ops:
        (first, *_), (out, *_) = (op.inputs or ("",)), op.outputs
        shape = program.values[out].shape if out else ()
        if op.kind == "reshape" and first in grown and shape == tall:
            same[out] = first
        elif op.kind == "reshape" and out in grown and program.values[first].shape == tall:
            same[first] = out
        elif grown.intersection((*op.inputs, *op.outputs)) and op.kind not in MAPS:
            return None
        else:
            ops.append(op)
    values = {n: replace(v, shape=tall) if n in grown else v for n, v in program.values.items()}
    renamed = [replace(op, inputs=_named(op.inputs, same), outputs=_named(op.outputs, same)) for op in ops]
    return replace(program, ops=tuple(renamed), values=values)


def _named(names: tuple[str, ...], same: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(same.get(name, name) for name in names)


def _grown(program: Program, weight: str) -> set[str] | None:
    """The weight, its next value, and everything of its shape between that and its gradient."""
    shape = program.values[weight].shape
    maker = {name: op for op in program.ops for name in op.outputs if name}
    names, pending = {weight}, [f"next:{weight}"] if f"next:{weight}" in maker else []
    while pending:
        name = pending.pop()
        if name in names:
            continue
        names.add(name)
        if name.startswith("state:") and f"next:{name}" in maker:
            pending.append(f"next:{name}")
        op = maker.get(name)
        if op is None or op.kind == "reshape":
            continue
        if op.kind not in MAPS or any(program.values[n].shape not in ((), (1,), shape) for n in op.inputs):
            return None
        pending += [n for n in op.inputs if program.values[n].shape == shape]
    return names
