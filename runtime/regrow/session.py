"""One adapted instance of a model: adapt, predict, undo, reset, save.

State is a value: `adapt` computes the next one and only then lets go of the old, so a refusal, a rollback or
Ctrl-C leaves the session as it was. The bundle's own weights are never written. Not for use by two threads
at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regrow import classes as class_table
from regrow import delta as deltas
from regrow import growth, samples
from regrow.classes import Classes
from regrow.delta import Delta
from regrow.engines import Adapted
from regrow.errors import AdaptError
from regrow.files import StrPath
from regrow.growth import ClassReport
from regrow.inference import Prediction, run
from regrow.manifest import RuleSpec

if TYPE_CHECKING:
    from regrow.model import Model

Array = NDArray[Any]
Memory = Literal["exact", "bounded", "estimated"]

# (steps done, loss after them); may raise, which leaves the session as it was.
OnStep = Callable[[int, float], None]

MAX_STEPS = 100_000


@dataclass(frozen=True, eq=False)
class AdaptReport:
    """What one `adapt` did. `losses[i]` is the loss before step i, `loss` the one after the last.

    A metric head takes one step, its fit; an empty class counts as one at the origin.
    """

    losses: NDArray[np.float32]
    loss: float
    steps: int
    samples: int
    elapsed_ms: float
    peak_bytes: int
    memory: Memory
    engine: str

    @property
    def exact(self) -> bool:
        """Whether the engine kept to `peak_bytes` to the byte; else they are the plan, not a measurement."""
        return self.memory == "exact"


@dataclass(frozen=True, eq=False)
class State:
    """Everything a session has learned. Arrays are read-only and shared between states."""

    params: Mapping[str, Array]
    slots: Mapping[str, Array]
    statistics: Mapping[str, Array]
    classes: Classes | None
    adaptations: int = 0
    samples: int = 0


class Session:
    """Made by `Model.session`. `undo_depth` states are kept for `undo`."""

    undo_depth = 16

    def __init__(self, model: Model, delta: Delta | None = None) -> None:
        self.model = model
        self._state = _initial(model) if delta is None else _restored(model, delta)
        self._history: list[State] = []

    @property
    def adaptations(self) -> int:
        """How many `adapt` calls the state rests on."""
        return self._state.adaptations

    @property
    def parameters(self) -> Mapping[str, Array]:
        """The adaptable parameters as they are now, read-only."""
        return MappingProxyType(dict(self._state.params))

    @property
    def classes(self) -> Classes | None:
        """Which output stands for which class; None for regression."""
        return self._state.classes

    @property
    def counts(self) -> dict[str, int]:
        """Samples learned per class, by name or number; empty for regression."""
        return {} if self._state.classes is None else class_table.count_map(self._state.classes)

    @property
    def named(self) -> bool:
        """Whether its classes have names; else they are numbers, or not known yet."""
        return self._state.classes is not None and self._state.classes.names is not None

    def adapt(
        self, x: ArrayLike, y: ArrayLike, *, steps: int | None = None, on_step: OnStep | None = None
    ) -> AdaptReport:
        """Learn from a support set, on top of what was learned before; the bundle says how.

        `on_step` is told of every step where `Model.stepwise`, else once, at the end.
        """
        began = time.perf_counter()
        made, count = self.model.manifest, _steps(steps, self.model.rule)
        inputs = samples.as_input(x, made.input, "support")
        targets, known = _targets(y, len(inputs), self.model, self._state)
        self.model.check_budget(len(inputs))
        active = None if known is None else known.active()
        adapted = _adapted(self.model, self._state, (inputs, targets, active), count, on_step)
        _judge(adapted, self.model)
        self._history = [*self._history, self._state][-self.undo_depth :]
        self._state = _next(self._state, adapted, known, len(inputs))
        return AdaptReport(
            losses=adapted.losses,
            loss=adapted.final_loss,
            steps=count,
            samples=len(inputs),
            elapsed_ms=(time.perf_counter() - began) * 1e3,
            peak_bytes=self.model.peak_bytes(len(inputs)),
            memory=_memory(self.model),
            engine=self.model.engine.name,
        )

    def add_class(self, name: str | int, x: ArrayLike, y: ArrayLike | None = None) -> ClassReport:
        """Learn a new class within the width of a metric head; the others stay as they are, bit for bit.

        With labels `y`, samples of known classes are not learned but held back, to say what the new class
        costs them. One `undo` takes the class away again.
        """
        return growth.add_class(self, name, x, y)

    def predict(self, x: ArrayLike) -> Prediction:
        """What the session makes of a batch of queries."""
        inputs = samples.as_input(x, self.model.input, "query")
        return run(self.model, inputs, self._state.params, self._state.statistics, self._state.classes)

    def undo(self) -> None:
        """Step back one `adapt`."""
        if not self._history:
            raise AdaptError(
                f"undo: no adaptation left to undo, expected one made in this session (the last "
                f"{self.undo_depth} are kept); reset() starts afresh"
            )
        self._state = self._history.pop()

    def reset(self) -> None:
        """Back to the bundle as it came, also where the session began from a delta. Cannot be undone."""
        self._state, self._history = _initial(self.model), []

    def save(self, path: StrPath) -> str:
        """Write what was learned as a delta, replacing an older file at once or not at all; its digest."""
        return deltas.write(path, self._delta(), self.model.bundle.params)

    def dump(self) -> bytes:
        """The delta that `save` would write, as bytes; `Model.session` takes them back."""
        return deltas.pack(self._delta(), self.model.bundle.params)

    def _delta(self) -> Delta:
        state, known = self._state, self._state.classes
        return Delta(
            bundle=self.model.digest,
            rule=self.model.rule.name,
            params=dict(state.params),
            statistics=dict(state.statistics),
            state=dict(state.slots),
            labels=None if known is None else known.names,
            counts=self.counts,
            adaptations=state.adaptations,
            samples=state.samples,
        )


def _initial(model: Model) -> State:
    bundle = model.bundle
    return State(
        params={p.name: bundle.params[p.name] for p in model.adaptable},
        slots=dict(bundle.state),
        statistics=dict(bundle.statistics),
        classes=class_table.fresh(model.manifest) if model.manifest.task == "classification" else None,
    )


def _restored(model: Model, delta: Delta) -> State:
    base = _initial(model)
    return State(
        params={**base.params, **delta.params},
        slots=delta.state,
        statistics=delta.statistics,
        classes=base.classes and class_table.restore(model.manifest, delta.labels, delta.counts),
        adaptations=delta.adaptations,
        samples=delta.samples,
    )


def _steps(asked: int | None, rule: RuleSpec) -> int:
    if asked is None:
        return rule.steps
    most = 1 if rule.kind == "metric" else MAX_STEPS
    if isinstance(asked, bool) or not isinstance(asked, int | np.integer) or not 1 <= asked <= most:
        wanted = "1, as a metric head is fitted at once" if most == 1 else f"1 to {most}"
        raise AdaptError(f"adapt: steps is {asked!r}, expected {wanted}; leave it out for {rule.steps}")
    return int(asked)


def _targets(y: ArrayLike, count: int, model: Model, state: State) -> tuple[Array, Classes | None]:
    if state.classes is None:
        return samples.as_targets(y, model.manifest, count, "targets"), None
    return state.classes.assign(y, count)


def _adapted(
    model: Model, state: State, support: tuple[Array, Array, Array | None], count: int, on_step: OnStep | None
) -> Adapted:
    """All steps in one call of the engine, or one call per step where somebody watches and it is the same."""
    if on_step is None or not model.stepwise:
        made = model.engine.adapt(*support, state.params, state.slots, count)
        if on_step is not None:
            on_step(count, made.final_loss)
        return made
    losses: list[Array] = []
    params, slots = state.params, state.slots
    for done in range(1, count + 1):
        made = model.engine.adapt(*support, params, slots, 1)
        params, slots = made.params, made.state
        losses.append(made.losses)
        on_step(done, made.final_loss)
    return replace(made, losses=np.concatenate(losses))


def _judge(adapted: Adapted, model: Model) -> None:
    """Refuse a result that is not finite or whose loss rose too far."""
    first, last = float(adapted.losses[0]), adapted.final_loss
    limit = first + model.policy.max_loss_rise
    kept = "rolled back, the session is as it was; check labels and scaling, or try fewer steps"
    tensors = (
        adapted.losses,
        *adapted.params.values(),
        *adapted.state.values(),
        *adapted.statistics.values(),
    )
    if not np.isfinite(last) or not all(np.isfinite(t).all() for t in tensors):
        raise AdaptError(
            f"adapt: loss {first:.6g} -> {last:.6g} or a weight not finite, expected numbers; {kept}"
        )
    if last > limit:
        raise AdaptError(
            f"adapt: loss rose from {first:.6g} to {last:.6g}, expected at most {limit:.6g}; {kept}"
        )


def _next(state: State, adapted: Adapted, known: Classes | None, count: int) -> State:
    for tensors in (adapted.params, adapted.state, adapted.statistics):
        for array in tensors.values():
            array.flags.writeable = False
    return State(
        params=adapted.params,
        slots=adapted.state,
        statistics=adapted.statistics,
        classes=known,
        adaptations=state.adaptations + 1,
        samples=state.samples + count,
    )


def _memory(model: Model) -> Memory:
    if model.engine.exact_memory:
        return "exact"
    return "estimated" if model.budget_bytes is None else "bounded"
