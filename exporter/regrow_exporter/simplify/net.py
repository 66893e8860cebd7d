"""The captured network as it is simplified: ops, shapes, and the values of everything that cannot change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.ops import OPS
from regrow.program import Op, Value
from regrow.values import Mask

Array = NDArray[Any]
Floats = NDArray[np.float64]
LAYERS = ("conv2d", "linear")


@dataclass
class Net:
    """Ops in order. Every op has an output, and no two ops make the same value."""

    values: dict[str, Value]
    ops: list[Op]
    outputs: tuple[str, ...]  # read from outside, whole
    tensors: dict[str, Array]  # what is frozen, floats in fp64
    zeros: dict[str, Mask]  # of what is adaptable: where it is zero and stays zero

    def add(self, name: str, array: Floats) -> str:
        """A new frozen tensor, under this name or one like it."""
        while name in self.values:
            name += ".folded"
        self.values[name] = Value(array.shape, role="frozen")
        self.tensors[name] = array
        return name

    def put(self, name: str, array: Floats, suggested: str) -> str:
        """New values for a frozen tensor that a single op reads; for another a new one. Returns its name."""
        if name and self.reads(name) == 1 and self.values[name].shape == array.shape:
            self.tensors[name] = array
            return name
        return self.add(suggested, array)

    def reads(self, name: str) -> int:
        """How often a value is read, from outside included."""
        return sum(op.inputs.count(name) for op in self.ops) + self.outputs.count(name)

    def replace(self, made: dict[str, Op | None]) -> None:
        """Put ops in place of those whose first output is named; None drops one."""
        ops = [made.get(op.outputs[0], op) for op in self.ops]
        self.ops = [op for op in ops if op is not None]

    def rename(self, names: dict[str, str]) -> None:
        """Read other values instead."""
        self.ops = [replace(op, inputs=tuple(names.get(n, n) for n in op.inputs)) for op in self.ops]
        self.outputs = tuple(names.get(n, n) for n in self.outputs)

    def zero(self, name: str) -> Mask:
        """Where a parameter is zero whatever happens."""
        if name in self.tensors:
            return np.asarray(self.tensors[name] == 0)
        return self.zeros.get(name, np.zeros(self.values[name].shape, np.bool_))

    def fixed(self) -> dict[str, Array]:
        """What is frozen, and every value that is computed from nothing else."""
        made: dict[str, Array] = dict(self.tensors)
        for op in self.ops:
            shapes = (d for name in op.outputs if name for d in self.values[name].shape)
            if all(name in made for name in op.inputs) and all(d >= 0 for d in shapes):
                found = OPS[op.kind].forward([made[name] for name in op.inputs], op.attrs)
                made |= {name: widened(a) for name, a in zip(op.outputs, found, strict=True) if name}
        return made


def widened(array: Array) -> Array:
    """Floats in fp64, everything else as it is."""
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array


def bias_of(weight: str) -> str:
    """What the bias beside a weight is called."""
    stem, dot, leaf = weight.rpartition(".")
    return f"{stem}{dot}bias" if leaf == "weight" else f"{weight}.bias"


def with_bias(op: Op, name: str) -> Op:
    """The layer with another bias."""
    return replace(op, inputs=(*op.inputs[:2], name))
