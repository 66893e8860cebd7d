"""Another name for a class: its samples, what was learned, and every state that undo can reach, at once."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

from regrow import delta as deltas
from regrow.model import Model
from regrow.serve import records, support
from regrow.serve.core import Core
from regrow.serve.problems import ProblemError
from regrow.serve.records import StateRow


def rename(core: Core, owner: str, id: str, old: str, new: str) -> bool:
    """The old name is gone from the disk, too; False while a backup still reads the log."""
    core.refuse_busy(id)
    live = core.live.get(owner, id)
    support.check_label(live, new)
    core.store.erase(lambda db: _rename(db, id, live.model, old, new))
    core.live.drop(id)
    return core.store.settle()


def _rename(db: sqlite3.Connection, id: str, model: Model, old: str, new: str) -> None:
    states = records.states(db, id)
    learned = {label for row in states for label in _names(row, model)}
    known = learned | {sample.label for sample in records.samples(db, id)}
    if old not in known:
        raise ProblemError(
            "not-found", f"class {old[:80]!r}: not found, expected one of this session; list them"
        )
    if new in known and new != old:
        raise ProblemError(
            "conflict", f"class {new[:80]!r}: is there already, expected a new name; choose another"
        )
    records.rename_label(db, id, old, new)
    for row in states:
        if old in _names(row, model):
            records.replace_state(db, id, _renamed(row, model, old, new))


def _names(row: StateRow, model: Model) -> tuple[str, ...]:
    """Names of learned classes; a delta from elsewhere may number them, and numbers are not renamed."""
    return deltas.parse(row.delta, model.bundle).labels or ()


def _renamed(row: StateRow, model: Model, old: str, new: str) -> StateRow:
    read = deltas.parse(row.delta, model.bundle)
    named = replace(
        read,
        labels=tuple(new if label == old else label for label in read.labels or ()),
        counts=_key(read.counts, old, new),
    )
    report = dict(row.report)
    if "classes" in report:
        report["classes"] = _key(report["classes"], old, new)
    return replace(row, delta=deltas.pack(named, model.bundle.params), report=report)


def _key(table: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if key == old else key: value for key, value in table.items()}
