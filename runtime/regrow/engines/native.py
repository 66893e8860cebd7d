"""Run a bundle on the native core: one call per adaptation, in one arena whose size is known beforehand.

What does not change is used where it lies: the samples, frozen weights, masks and rates. What changes
lives in the arena, pruned weights as their kept positions only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.bundle import Bundle
from regrow.engines import Adapted, core
from regrow.errors import BudgetError, BundleError, UnsupportedError
from regrow.plan.kept import Kept
from regrow.plan.make import Plan, missing, plan_adapt, plan_predict
from regrow.plan.style import STYLES

Array = NDArray[Any]
Tensors = Mapping[str, Array]

# Share of kept positions below which a layer runs faster on lists than whole, and below which a convolution
# does whose filters have so few positions that writing its output is most of the work (docs/native.md).
SPARSE_BELOW, FEW_POSITIONS, FEW_BELOW = 0.4, 32, 0.25
# Elements below which a matrix is always whole: its product is over before lists pay off.
LEAST_MATRIX = 2**15
_STAGES = ("predict", "prefix", "step", "finish")
_PLANS_KEPT = 8
# Blocks that are other arrays in every call; so is all that comes out.
_PASSING = ("x", "y", "active")


def load() -> None:
    """Load what running needs, so that a benchmark can tell it apart from the run."""
    core.library()


def _sparse_below(shape: tuple[int, ...]) -> float:
    few = len(shape) > 2 and prod(shape[1:]) <= FEW_POSITIONS
    return FEW_BELOW if few else SPARSE_BELOW


def packable(bundle: Bundle, least: int | None = None) -> dict[str, Kept]:
    """The weights that are worth keeping packed; `least`: elements below which a matrix is not."""
    least = LEAST_MATRIX if least is None else least
    kinds = {p.name: p.adaptable for p in bundle.manifest.parameters}
    made = {
        name: Kept(mask, kinds[name] == "none")
        for name, mask in bundle.kept.items()
        if kinds[name] in ("kept", "none") and mask.ndim > 1 and mask.any()
    }
    return {
        name: kept
        for name, kept in made.items()
        if kept.density <= _sparse_below(kept.mask.shape) and (kept.mask.ndim > 2 or kept.mask.size >= least)
    }


class NativeEngine:
    """The `native` engine. Plans are made when a batch size is first seen; arenas are reused."""

    name = "native"
    exact_memory = True

    def __init__(
        self, bundle: Bundle, *, threads: int = 1, budget_bytes: int | None = None, plan: str = "auto"
    ) -> None:
        self._bundle = bundle
        self._budget = budget_bytes
        fast = "wide" if core.widest() == "avx512" else "fast"
        self._styles = ["small"] if plan == "small" else [fast]
        if plan == "auto" and budget_bytes is not None:
            self._styles.append("small")
        self._programs = {name: bundle.program(name) for name in _STAGES}
        self._plans: dict[tuple[str, int], _Planned] = {}
        if lacking := missing(self._programs):
            kinds = ", ".join(f"{kind} ({source})" for kind, source in sorted(lacking.items()))
            raise UnsupportedError(f"{bundle.path}: engine native: has no op {kinds}; choose engine='onnx'")
        core.library()

    @cached_property
    def _kept(self) -> dict[str, Kept]:
        return packable(self._bundle)

    def planned_bytes(self, support: int) -> int:
        """The arena of an adaptation, to the byte."""
        return self._planned("adapt", support).plan.arena_bytes

    def adapt(
        self, x: Array, y: Array, active: Array | None, params: Tensors, state: Tensors, steps: int
    ) -> Adapted:
        """`steps` updates in one call of the core."""
        planned = self._planned("adapt", len(x), self._budget)
        given = {"x": x, "y": y, **params, **{f"state:{name}": array for name, array in state.items()}}
        if active is not None:
            given["active"] = active
        statistics = {s.name: np.empty(s.shape, np.float32) for s in self._bundle.manifest.statistics}
        losses, final = np.empty(steps, np.float32), np.empty((), np.float32)
        made = {f"out:stat:{name}": array for name, array in statistics.items()}
        made |= {"out:losses": losses, "out:final_loss": final}
        new = {name: np.empty_like(array) for name, array in params.items() if f"out:{name}" in planned.rows}
        slots = {n: np.empty_like(a) for n, a in state.items() if f"out:state:{n}" in planned.rows}
        made |= {f"out:{name}": array for name, array in new.items()}
        made |= {f"out:state:{name}": array for name, array in slots.items()}
        self._run(planned, given | made, steps)
        # What no step reads or moves comes back as it was.
        return Adapted(
            params={name: new.get(name, array) for name, array in params.items()},
            state={name: slots.get(name, array) for name, array in state.items()},
            statistics=statistics,
            losses=losses,
            final_loss=float(final),
        )

    def predict(self, x: Array, params: Tensors, statistics: Tensors) -> Array:
        """One forward pass."""
        planned = self._planned("predict", len(x), self._budget)
        logits = np.empty((len(x), *self._bundle.manifest.output.shape), np.float32)
        given = {"x": x, "out:logits": logits, **params}
        self._run(planned, given | {f"stat:{name}": array for name, array in statistics.items()}, 0)
        return logits

    def _planned(self, what: str, batch: int, budget: int | None = None) -> _Planned:
        key = (what, batch)
        if key not in self._plans:
            while len(self._plans) >= _PLANS_KEPT:
                self._plans.pop(next(iter(self._plans)), None)
            self._plans[key] = _Planned(self._made(what, batch), self._bundle)
        planned = self._plans[key]
        if budget is not None and planned.plan.arena_bytes > budget:
            raise BudgetError(
                f"{self._bundle.path}: {what} of {batch} samples needs {planned.plan.arena_bytes} bytes, "
                f"budget_bytes is {budget}; raise it or give fewer samples"
            )
        return planned

    def _made(self, what: str, batch: int) -> Plan:
        """The first plan that fits the budget, or the smallest."""
        plans: list[Plan] = []
        for style in map(STYLES.__getitem__, self._styles):
            plans.append(
                plan_adapt(self._programs, batch, self._kept, style=style)
                if what == "adapt"
                else plan_predict(self._programs["predict"], batch, self._kept, style=style)
            )
            if self._budget is None or plans[-1].arena_bytes <= self._budget:
                return plans[-1]
        return min(plans, key=lambda plan: plan.arena_bytes)

    def _run(self, planned: _Planned, arrays: Tensors, steps: int) -> None:
        status = planned.run(arrays, steps)
        if status:
            raise BundleError(
                f"{self._bundle.path}: native core: {core.text(status)}, expected a program it can run; "
                "export the bundle again"
            )


class _Planned:
    """A plan in the core's words, with the blocks that never change bound once."""

    def __init__(self, plan: Plan, bundle: Bundle) -> None:
        self.plan = plan
        self.words = plan.words(core.code)
        self.rows = {name: i for i, name in enumerate(plan.blocks)}
        fixed = {name: _fixed(name, plan, bundle) for name in plan.blocks[1:]}
        self._fixed = {name: array for name, array in fixed.items() if array is not None}
        self._template = np.zeros((len(plan.blocks), 2), np.uint64)
        for name, array in self._fixed.items():
            self._template[self.rows[name]] = (_address(array), array.nbytes)
        names = [name for name in plan.blocks[1:] if name not in self._fixed]
        lasting = [name for name in names if not name.startswith("out:") and name not in _PASSING]
        self._lasting = [(i, name, 2 * self.rows[name]) for i, name in enumerate(lasting)]
        self._passing = [(name, 2 * self.rows[name]) for name in names if name not in lasting]
        self._address, self._width = _address(self.words), core.library().regrow_width()
        self._idle: list[_Slot] = []

    def run(self, arrays: Tensors, steps: int) -> int:
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
        words = len(self.words)
        arguments = (self._width, self._address, words, slot.address, len(self.rows), steps)
        status = int(core.library().regrow_run_width(*arguments))
        self._idle.append(slot)
        return status


class _Slot:
    """The table of blocks and the arena of one run at a time; there are as many as ever ran at once.

    What lasts (parameters, statistics) is remembered, so that only what is another array is looked up again.
    """

    def __init__(self, table: Array, arena: Array, lasting: int) -> None:
        table[0] = (_address(arena), arena.nbytes)
        self.arena = arena
        self.address = _address(table)
        self.numbers = table.data.cast("B").cast("Q")
        self.held: list[Array | None] = [None] * lasting
        self.copies: dict[int, Array] = {}


def _bind(numbers: memoryview, at: int, array: Array, copies: dict[int, Array]) -> None:
    copies[at] = array
    numbers[at], numbers[at + 1] = _address(array), array.nbytes


def aligned(size: int) -> Array:
    """Uninitialised bytes on the core's alignment."""
    raw = np.empty(size + 128, np.uint8)
    start = -_address(raw) % 64
    return raw[start : start + max(size, 1)]


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


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
