"""Weights of which only some positions exist: which values may stay packed, and the lists kernels walk.

A weight stays packed where everything that touches it can: convolutions and products as their weight, its
own gradient, and pointwise ops among values of its shape. Its state slots are packed with it; at
positions that do not exist they keep what they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.plan.pointwise import MAPS
from regrow.program import Op, Program


@dataclass(frozen=True, eq=False)
class Kept:
    """A weight's existing positions; `fixed` where its values never change."""

    mask: NDArray[np.bool_]
    fixed: bool

    @property
    def count(self) -> int:
        return int(np.count_nonzero(self.mask))

    @property
    def density(self) -> float:
        return self.count / self.mask.size


@dataclass(frozen=True, eq=False)
class Lists:
    """Per row the numbers of its kept positions; `order` says where the values of that order are found."""

    index: NDArray[np.uint32]
    ends: NDArray[np.uint32]
    order: NDArray[np.uint32]


def _lists(rows: int, row: NDArray[Any], number: NDArray[Any], order: NDArray[Any]) -> Lists:
    ends = np.zeros(rows + 1, np.uint32)
    ends[1:] = np.cumsum(np.bincount(row, minlength=rows))
    return Lists(np.ascontiguousarray(number, np.uint32), ends, np.ascontiguousarray(order, np.uint32))


@cache
def forward(kept: Kept) -> Lists:
    """Rows are filters, numbers count (channel, tap); `order` are positions in the dense weight."""
    rows, positions = kept.mask.shape[0], kept.mask.size // kept.mask.shape[0]
    flat = np.flatnonzero(kept.mask)
    return _lists(rows, flat // positions, flat % positions, flat)


@cache
def backward(kept: Kept, phases: tuple[int, ...], count: int) -> Lists:
    """Rows are (channel, phase), numbers count (filter, tap); each tap has one of `count` phases."""
    filters, channels = kept.mask.shape[:2]
    taps = prod(kept.mask.shape[2:])
    o, c, k = np.nonzero(kept.mask.reshape(filters, channels, taps))
    row = c * count + np.asarray(phases)[k]
    order = np.lexsort((o * taps + k, row))
    return _lists(channels * count, row[order], (o * taps + k)[order], order)


@cache
def in_parts(kept: Kept, channels: int) -> Lists:
    """As `forward`, so many channels after the other; `order` are numbers of its positions."""
    filters = kept.mask.shape[0]
    o, c, k = np.nonzero(kept.mask.reshape(*kept.mask.shape[:2], -1))
    row = c // channels * filters + o
    order = np.argsort(row, kind="stable")
    parts = -(-kept.mask.shape[1] // channels)
    number = c * prod(kept.mask.shape[2:]) + k
    return _lists(parts * filters, row[order], number[order], order)


def packs(programs: Mapping[str, Program], kept: Mapping[str, Kept]) -> dict[str, str]:
    """Every value that stays packed, and the weight whose positions it has."""
    found: dict[str, str] = {}
    for weight, positions in kept.items():
        names = _follow(programs, weight, positions)
        if names is not None:
            found |= dict.fromkeys(names, weight)
    return found


def _follow(programs: Mapping[str, Program], weight: str, kept: Kept) -> set[str] | None:
    """The values packed with a weight; None where something needs it whole."""
    names = {weight}
    step = programs.get("step")
    if not kept.fixed and step is not None:
        grown = _grown(step, weight)
        if grown is None:
            return None
        names |= grown
    fits = all(_fits(op, names, weight) for program in programs.values() for op in program.ops)
    return names if fits else None


def _grown(step: Program, weight: str) -> set[str] | None:
    """The weight, its next value, and everything of its shape between them and its gradient."""
    shape = step.values[weight].shape
    maker = {name: op for op in step.ops for name in op.outputs if name}
    names, pending = {weight}, [f"next:{weight}"]
    while pending:
        name = pending.pop()
        if name in names:
            continue
        names.add(name)
        op = maker.get(name)
        if name.startswith("state:"):
            pending.append(f"next:{name}")
        if op is None:
            if not name.startswith(("state:", "meta:", weight)):
                return None
        elif op.kind in MAPS and op.kind not in ("cast", "literal", "constant"):
            inputs = op.inputs[1:] if op.inputs and op.inputs[0] == f"mask:{weight}" else op.inputs
            pending += [n for n in inputs if step.values[n].shape == shape]
            if any(step.values[n].shape not in ((), (1,), shape) for n in inputs):
                return None
        elif op.kind not in ("conv2d_dw", "matmul"):
            return None
        if step.values[name].dtype not in (("float32",) if op is None else ("float32", "bool")):
            return None
    return names


def _fits(op: Op, names: set[str], weight: str) -> bool:
    """Whether an op can do with packed operands."""
    made = names.intersection(filter(None, op.outputs))
    read = [i for i, name in enumerate(op.inputs) if name in names]
    if op.kind in ("conv2d", "conv2d_dx", "linear"):
        alone = read == [1] and op.inputs[1] == weight and op.attrs.get("groups", 1) == 1
        return not made and (not read or alone)
    if op.kind == "conv2d_dw":
        return not read and (not made or op.attrs["groups"] == 1)
    if op.kind == "matmul":
        if made:
            return not read and bool(op.attrs["transpose_a"]) and not op.attrs["transpose_b"]
        plain = not op.attrs["transpose_a"] and not op.attrs["transpose_b"]
        return not read or (plain and read == [1] and op.inputs[1] == weight)
    return bool(made) or not read
