"""A program: ops over named values with one symbolic dimension, the batch `B`. Data only; runs nothing.

A dimension is an int. `d >= 0` is concrete; `d < 0` means `-d * B`, so `-1` is the batch itself and
`-49` is 49 rows per sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["input", "adaptable", "frozen", "state", "temp"]
Attr = int | float | str | bool | tuple[int, ...] | tuple[float, ...]
ROLES: tuple[Role, ...] = ("input", "adaptable", "frozen", "state", "temp")
DTYPES = ("float32", "int64", "bool", "uint8")


@dataclass(frozen=True)
class Value:
    """Shape, dtype and role of one named value."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    role: Role = "temp"

    def at(self, batch: int) -> tuple[int, ...]:
        """The concrete shape for a batch size."""
        return tuple(d if d >= 0 else -d * batch for d in self.shape)


@dataclass(frozen=True)
class Op:
    """One application of an op schema; `source` says where in the user's model it came from."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Attr]
    source: str = ""


@dataclass(frozen=True)
class Program:
    """Ops in execution order. Every input of an op is a program input or an earlier output."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ops: tuple[Op, ...]
    values: Mapping[str, Value]

    def to_json(self) -> dict[str, Any]:
        """Plain data, stable order; `from_json` is its inverse."""
        return {
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "values": {n: [list(v.shape), v.dtype, v.role] for n, v in sorted(self.values.items())},
            "ops": [
                [o.kind, list(o.inputs), list(o.outputs), dict(sorted(o.attrs.items())), o.source]
                for o in self.ops
            ],
        }
