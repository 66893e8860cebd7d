"""Frozen weights that stay as their bundle stores them, in fp16 or int8, and are widened where they are read.

A layer widens a few filters at a time; another reader gets all as floats, in memory that is free again behind
it. Which can stay so is decided here: those
that only products and convolutions read, packed exactly where the bundle left positions out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from regrow.bundle import Bundle
from regrow.manifest import Parameter
from regrow.plan.builder import Buffer, Builder, Word, maybe
from regrow.plan.kept import forward
from regrow.program import Program
from regrow.values import SCALES, Array

_READERS = ("conv2d", "conv2d_dx", "linear", "matmul")


@dataclass(frozen=True)
class Stored:
    """So many values in rows; int8 has a scale for each row."""

    levels: bool
    rows: int
    count: int

    @property
    def bytes(self) -> int:
        return (1 if self.levels else 2) * self.count + (4 * self.rows if self.levels else 0)

    @property
    def row(self) -> int:
        return self.count // self.rows

    def words(self, name: str, to: Buffer) -> tuple[Word, ...]:
        """A whole weight as an op reads it that widens a few rows at a time."""
        values, scales = self._blocks(name)
        return (values, *maybe(scales), self.rows, self.row, int(self.levels), to)

    def _blocks(self, name: str) -> tuple[Buffer, list[Buffer]]:
        values = Buffer((1 if self.levels else 2) * self.count, f"stored:{name}", pinned=True)
        scales = [Buffer(4 * self.rows, f"scales:{name}", pinned=True)] if self.levels else []
        return values, scales

    def widened(self, b: Builder, name: str) -> Buffer:
        """The weight as floats: the kept positions of a packed one."""
        values, scales = self._blocks(name)
        ends = [b.listed(f"kept:{name}:ends", forward(b.kept[name]).ends)] if name in b.packs else []
        y = b.floats(self.count)
        words = (y, values, *maybe(scales), *maybe(ends), self.rows, self.count, int(self.levels))
        b.emit("stored", words, (values, *scales, *ends), (y,))
        return y


def storable(
    programs: Mapping[str, Program], entries: Collection[Parameter], packed: Collection[str]
) -> dict[str, Stored]:
    """Of a bundle's parameters those that can stay as they are; `packed` are the weights that plans pack."""
    return {
        e.name: Stored(e.values == "int8", e.shape[0], e.kept)
        for e in entries
        if e.adaptable == "none" and e.values != "fp32" and len(e.shape) > 1
        if (e.encoding != "dense") == (e.name in packed) and _only_weight(programs, e.name)
    }


def stored_block(bundle: Bundle, kind: str, entry: Parameter) -> Array:
    """What a plan calls "stored:NAME" or "scales:NAME"."""
    parts = bundle.parts(entry)
    found = parts[SCALES] if kind == "scales" else parts["" if entry.encoding == "dense" else "values"]
    return found.reshape(-1)


def _only_weight(programs: Mapping[str, Program], name: str) -> bool:
    """Whether nothing reads it but as the weight of a product or a convolution."""
    for program in programs.values():
        for op in program.ops:
            read = [i for i, n in enumerate(op.inputs) if n == name]
            if read and (op.kind not in _READERS or read != [1]):
                return False
        if name in program.outputs:
            return False
    return True
