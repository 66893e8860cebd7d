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
from regrow.engines.planned import Planned
from regrow.errors import BudgetError, BundleError, UnsupportedError
from regrow.plan.kept import Kept, packs
from regrow.plan.make import Plan, missing, plan_adapt, plan_predict
from regrow.plan.stored import Stored, storable
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
        self._styles = [fast] if plan in ("auto", "fast") else [plan]
        if plan == "auto" and budget_bytes is not None:
            self._styles.append("small")
        self._programs = {name: bundle.program(name) for name in _STAGES}
        self._plans: dict[tuple[str, int], Planned] = {}
        if lacking := missing(self._programs):
            kinds = ", ".join(f"{kind} ({source})" for kind, source in sorted(lacking.items()))
            raise UnsupportedError(f"{bundle.path}: engine native: has no op {kinds}; choose engine='onnx'")
        core.library()

    @cached_property
    def _kept(self) -> dict[str, Kept]:
        return packable(self._bundle)

    @cached_property
    def _stored(self) -> dict[str, Stored]:
        packed = set(packs(self._programs, self._kept).values())
        return storable(self._programs, self._bundle.manifest.parameters, packed)

    @property
    def _staying(self) -> dict[str, Stored]:
        """Of those, what the smallest plan asked for reads as it is stored."""
        return self._stored if STYLES[self._styles[-1]].recompute else {}

    @cached_property
    def widened(self) -> tuple[str, ...]:
        """Frozen weights stored narrower than fp32 that plans read as floats all the same."""
        stays, entries = self._staying, self._bundle.manifest.parameters
        narrow = (
            p.name for p in entries if p.adaptable == "none" and p.values != "fp32" and len(p.shape) > 1
        )
        return tuple(sorted(name for name in narrow if name not in stays))

    @property
    def frozen_bytes(self) -> int:
        """What frozen weights take while an engine runs: floats, or as they are stored."""
        entries = [p for p in self._bundle.manifest.parameters if p.adaptable == "none"]
        stays = self._staying
        return sum(stays[p.name].bytes if p.name in stays else 4 * prod(p.shape) for p in entries)

    def planned_bytes(self, support: int) -> int:
        """The arena of an adaptation, to the byte."""
        return self._planned("adapt", support).plan.arena_bytes

    def adapt(
        self, x: Array, y: Array, active: Array | None, params: Tensors, state: Tensors, steps: int
    ) -> Adapted:
        """`steps` updates in one call of the core."""
        planned = self._planned("adapt", len(x), self._budget)
        given = {"x": x, "y": y, **params}
        if state:
            given |= {f"state:{name}": array for name, array in state.items()}
        if active is not None:
            given["active"] = active
        made = planned.adapt(given, steps, self._judge)
        # What no step reads or moves comes back as it was.
        return Adapted(
            params={name: made.get(name, array) for name, array in params.items()},
            state={name: made.get(f"state:{name}", array) for name, array in state.items()},
            statistics={s.name: made[f"stat:{s.name}"] for s in self._bundle.manifest.statistics},
            losses=made["losses"],
            final_loss=float(made["final_loss"]),
        )

    def predict(self, x: Array, params: Tensors, statistics: Tensors) -> Array:
        """One forward pass."""
        planned = self._planned("predict", len(x), self._budget)
        logits = np.empty((len(x), *self._bundle.manifest.output.shape), np.float32)
        given = {"x": x, "out:logits": logits, **params}
        if statistics:
            given |= {f"stat:{name}": array for name, array in statistics.items()}
        self._judge(planned.run(given, 0))
        return logits

    def _planned(self, what: str, batch: int, budget: int | None = None) -> Planned:
        key = (what, batch)
        if key not in self._plans:
            while len(self._plans) >= _PLANS_KEPT:
                self._plans.pop(next(iter(self._plans)), None)
            self._plans[key] = Planned(self._made(what, batch), self._bundle)
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
            stored = self._stored if style.recompute else {}
            plans.append(
                plan_adapt(self._programs, batch, self._kept, style=style, stored=stored)
                if what == "adapt"
                else plan_predict(self._programs["predict"], batch, self._kept, style=style, stored=stored)
            )
            if self._budget is None or plans[-1].arena_bytes <= self._budget:
                return plans[-1]
        return min(plans, key=lambda plan: plan.arena_bytes)

    def _judge(self, status: int) -> None:
        if status:
            raise BundleError(
                f"{self._bundle.path}: native core: {core.text(status)}, expected a program it can run; "
                "export the bundle again"
            )
