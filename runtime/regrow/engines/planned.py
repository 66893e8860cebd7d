"""A plan bound to memory: what never changes once, what a call brings along at each call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.bundle import Bundle
from regrow.engines import core
from regrow.plan.make import Plan

Array = NDArray[Any]
Tensors = Mapping[str, Array]

# Blocks that are other arrays in every call, as is all that an adaptation makes.
_PASSING = ("x", "y", "active", "out:logits")
_LOSSES = "out:losses"


class Planned:
    """A plan in the core's words, with the blocks that never change bound once."""

    def __init__(self, plan: Plan, bundle: Bundle) -> None:
        self.plan = plan
        self.words = plan.words(core.code)
        self.rows = {name: i for i, name in enumerate(plan.blocks)}
        fixed = {name: _fixed(name, plan, bundle) for name in plan.blocks[1:]}
        self._fixed = {name: array for name, array in fixed.items() if array is not None}
        self._template = np.zeros((len(plan.blocks), 2), np.uint64)
        for name, array in self._fixed.items():
            self._template[self.rows[name]] = (address(array), array.nbytes)
        names = [name for name in plan.blocks[1:] if name not in self._fixed]
        made = {name for name in names if name.startswith("out:") and name not in _PASSING}
        lasting = [name for name in names if name not in made and name not in _PASSING]
        self._lasting = [(i, name, 2 * self.rows[name]) for i, name in enumerate(lasting)]
        self._passing = [(name, 2 * self.rows[name]) for name in names if name in _PASSING]
        likes = {name: _like(name, bundle) for name in names if name in made and name != _LOSSES}
        self._results = _Results.of(likes, self.rows)
        self._address, self._width = address(self.words), core.library().regrow_width()
        self._idle: list[_Slot] = []

    def adapt(self, arrays: Tensors, steps: int, judge: Callable[[int], None]) -> dict[str, Array]:
        """What `steps` updates make, by name."""
        block, made = self._results.fresh(steps)
        judge(self.run(arrays, steps, block))
        return made

    def run(self, arrays: Tensors, steps: int, block: Array | None = None) -> int:
        """The core's status. Whoever comes while a run is going on gets an arena of its own."""
        try:
            slot = self._idle.pop()
        except IndexError:
            slot = _Slot(self._template.copy(), aligned(self.plan.arena_bytes), len(self._lasting))
        held, numbers = slot.held, slot.numbers
        for i, name, at in self._lasting:
            array = arrays[name]
            if held[i] is not array:
                whole = array.flags.c_contiguous
                held[i] = array if whole else None  # a copy would not see what is written later
                _bind(numbers, at, array if whole else np.ascontiguousarray(array), slot.copies)
        copies: dict[int, Array] = {}  # alive until the core is done
        for name, at in self._passing:
            array = arrays[name]
            _bind(numbers, at, array if array.flags.c_contiguous else np.ascontiguousarray(array), copies)
        if block is not None:
            slot.table[self._results.rows] = self._results.bound(address(block), steps)
        words = len(self.words)
        arguments = (self._width, self._address, words, slot.address, len(self.rows), steps)
        status = int(core.library().regrow_run_width(*arguments))
        self._idle.append(slot)
        return status


@dataclass(frozen=True, eq=False)
class _Results:
    """Where each array that an adaptation makes lies in one new block: many blocks cost more than bytes do.

    The losses are last, as many as there are steps.
    """

    rows: list[int]
    arrays: list[tuple[str, tuple[int, ...], np.dtype[Any], int]]
    places: NDArray[np.uint64]  # offset and bytes

    @classmethod
    def of(cls, likes: Mapping[str, Array], rows: Mapping[str, int]) -> _Results:
        """Results like these arrays."""
        arrays, places, at = [], [], 0
        for name, like in likes.items():
            arrays.append((name.removeprefix("out:"), like.shape, like.dtype, at))
            places.append((at, like.nbytes))
            at += -(-like.nbytes // 64) * 64
        places.append((at, 0))
        last = [rows[_LOSSES]] if _LOSSES in rows else []
        return cls([*(rows[n] for n in likes), *last], arrays, np.array(places, np.uint64))

    def fresh(self, steps: int) -> tuple[Array, dict[str, Array]]:
        """A block, and the arrays in it."""
        end = int(self.places[-1, 0])
        block = np.empty(end + 4 * steps, np.uint8)
        made: dict[str, Array] = {n: np.ndarray(s, d, block, at) for n, s, d, at in self.arrays}
        made["losses"] = np.ndarray((steps,), np.float32, block, end)
        return block, made

    def bound(self, address: int, steps: int) -> Array:
        """Addresses and bytes of all of them."""
        made = self.places.copy()
        made[:, 0] += np.uint64(address)
        made[-1, 1] = 4 * steps
        return made


class _Slot:
    """The table of blocks and the arena of one run at a time; there are as many as ever ran at once.

    What lasts (parameters, statistics) is remembered, so that only what is another array is looked up again.
    """

    def __init__(self, table: Array, arena: Array, lasting: int) -> None:
        table[0] = (address(arena), arena.nbytes)
        self.arena, self.table = arena, table
        self.address = address(table)
        self.numbers = table.data.cast("B").cast("Q")
        self.held: list[Array | None] = [None] * lasting
        self.copies: dict[int, Array] = {}


def _bind(numbers: memoryview, at: int, array: Array, copies: dict[int, Array]) -> None:
    copies[at] = array
    numbers[at], numbers[at + 1] = address(array), array.nbytes


def aligned(size: int) -> Array:
    """Uninitialised bytes on the core's alignment."""
    raw = np.empty(size + 128, np.uint8)
    start = -address(raw) % 64
    return raw[start : start + max(size, 1)]


def address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _like(name: str, bundle: Bundle) -> Array:
    """An array as a result is one."""
    name = name.removeprefix("out:")
    kind, _, rest = name.partition(":")
    if kind == "final_loss":
        return np.empty((), np.float32)
    return {"stat": bundle.statistics, "state": bundle.state}[kind][rest] if rest else bundle.params[name]


def _fixed(name: str, plan: Plan, bundle: Bundle) -> Array | None:
    """A block that is the same in every run: of the plan, or of the bundle."""
    if name in plan.lists:
        return plan.lists[name]
    kind, _, rest = name.partition(":")
    entries = {p.name: p for p in bundle.manifest.parameters}
    if kind == "meta":
        return np.ascontiguousarray(bundle.meta[rest])
    if kind == "mask":
        return np.ascontiguousarray(bundle.mask(entries[rest]))
    if name in entries and entries[name].adaptable == "none":
        return np.ascontiguousarray(bundle.params[name])
    return None
