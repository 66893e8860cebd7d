"""Learning and unlearning: adaptations through the queue, undo, reset, and calibrations put on top."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from regrow.serve import failures, learning, records, saved
from regrow.serve.core import Core
from regrow.serve.problems import ProblemError, limit
from regrow.serve.records import StateRow

# (event, data): "step" any number of times, then "done" or "problem". Called from a thread of the worker.
Notify = Callable[[str, dict[str, Any]], None]


def adapt(core: Core, owner: str, id: str, steps: int | None, start: str, notify: Notify) -> int:
    """Queue an adaptation; returns how many are before it. `notify` is called from another thread."""
    live = core.live.get(owner, id)
    wanted = live.model.rule.steps if steps is None else steps
    if wanted > core.limits.steps:
        raise limit("steps", wanted, core.limits.steps, "ask for fewer")

    def refuse(problem: ProblemError) -> None:
        notify("problem", problem.body())

    return core.worker.submit(owner, id, lambda: _work(core, owner, id, wanted, start, notify), refuse)


def _work(core: Core, owner: str, id: str, steps: int, start: str, notify: Notify) -> Callable[[], None]:
    """Runs on a thread of the worker; whatever happens becomes one last event, told once it is over."""
    began, secret = time.perf_counter(), ""
    try:
        secret = core.live.get(owner, id).model.bundle.path
        report = _learn(core, owner, id, steps, start, notify)
        core.metrics.observe("regrow_adapt_seconds", time.perf_counter() - began)
        core.metrics.count("regrow_adaptations_total", outcome="done")
        return lambda: notify("done", report)
    except Exception as error:
        problem = failures.problem_of(error, secret)
        core.metrics.count("regrow_adaptations_total", outcome=problem.kind)
        body = problem.body()
        return lambda: notify("problem", body)


def _learn(core: Core, owner: str, id: str, steps: int, start: str, notify: Notify) -> dict[str, Any]:
    live = core.live.get(owner, id)
    with core.store.reading() as db:
        state, contents = records.last_state(db, id), records.contents(db, id)
    delta = state.delta if state is not None and start == "current" else None
    session = live.model.session(delta)
    lesson = learning.lesson(session, contents)

    def on_step(done: int, loss: float) -> None:
        core.worker.check()
        notify("step", {"step": done, "steps": steps, "loss": loss})

    report = learning.learn(session, lesson, steps, on_step)
    row = StateRow(1 if state is None else state.number + 1, session.dump(), report, time.time())
    with core.store.transaction() as db:
        if records.session(db, owner, id) is None or records.last_state(db, id) != state:
            raise ProblemError("conflict", "adapt: the session changed meanwhile; nothing was stored")
        records.push_state(db, id, row, core.limits.undo)
        records.touch(db, id, row.created)
    core.live.put(replace(live, session=session))
    return report


def undo(core: Core, owner: str, id: str) -> None:
    """Step back one adaptation or load."""
    core.refuse_busy(id)
    core.live.get(owner, id)
    core.store.erase(lambda db: _pop(db, core, owner, id))
    core.live.drop(id)


def _pop(db: sqlite3.Connection, core: Core, owner: str, id: str) -> None:
    row, number = records.session(db, owner, id), records.last_number(db, id)
    if row is None or number is None or (row.trimmed and records.state_count(db, id) == 1):
        raise ProblemError(
            "conflict",
            f"undo: nothing left to undo, expected an adaptation (the last {core.limits.undo} are kept); "
            "reset starts afresh",
        )
    records.pop_state(db, id, number)


def reset(core: Core, owner: str, id: str) -> None:
    """Back to the bundle as it came; samples stay."""
    core.refuse_busy(id)
    core.live.get(owner, id)
    core.store.erase(lambda db: records.drop_states(db, id))
    core.live.drop(id)


def load(core: Core, owner: str, id: str, delta_id: str) -> None:
    """Put a saved calibration on top; undo takes it off."""
    core.refuse_busy(id)
    live, now = core.live.get(owner, id), time.time()
    with core.store.transaction() as db:
        delta = saved.bytes_for(db, owner, delta_id, live.model)
        number = (records.last_number(db, id) or 0) + 1
        records.push_state(db, id, saved.loaded(number, delta_id, delta, now), core.limits.undo)
    core.live.drop(id)
