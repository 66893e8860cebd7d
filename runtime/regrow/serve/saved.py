"""Saved calibrations: kept under a name, handed out as delta files, taken in like any hostile file."""

from __future__ import annotations

import secrets
import sqlite3
import time

import numpy as np

from regrow import delta as deltas
from regrow.model import Model
from regrow.serve import records
from regrow.serve.core import Core
from regrow.serve.live import missing
from regrow.serve.problems import ProblemError, limit
from regrow.serve.records import DeltaRow, StateRow


def save(core: Core, owner: str, id: str, name: str) -> DeltaRow:
    """Keep what a session has learned under a name."""
    live = core.live.get(owner, id)
    if not live.session.adaptations:
        raise ProblemError("conflict", "save: nothing was learned yet, expected an adaptation; learn first")
    return _keep(core, owner, live.model, name, live.session.dump())


def upload(core: Core, owner: str, model: Model, name: str, delta: bytes) -> DeltaRow:
    """Keep a delta that came from elsewhere; it is judged like any hostile file."""
    if len(delta) > core.limits.delta_bytes:
        raise ProblemError(
            "too-large", f"delta: {len(delta)} bytes, expected at most {core.limits.delta_bytes}"
        )
    _refuse_not_finite(model, delta)
    return _keep(core, owner, model, name, delta)


def _refuse_not_finite(model: Model, delta: bytes) -> None:
    read = deltas.parse(delta, model.bundle)
    for name, array in (*read.params.items(), *read.statistics.items(), *read.state.items()):
        if not np.isfinite(array).all():
            raise ProblemError(
                "bad-delta", f"delta: {name} holds NaN or infinity, expected numbers; save it again"
            )


def _keep(core: Core, owner: str, model: Model, name: str, delta: bytes) -> DeltaRow:
    row = DeltaRow(secrets.token_urlsafe(16), owner, model.digest, name, len(delta), time.time())
    with core.store.transaction() as db:
        have = len(records.deltas(db, owner))
        if have >= core.limits.deltas:
            raise limit("saved calibrations", have, core.limits.deltas, "delete some first")
        records.add_delta(db, row, delta)
    return row


def listed(core: Core, owner: str) -> list[DeltaRow]:
    """All saved calibrations of an owner."""
    with core.store.reading() as db:
        return records.deltas(db, owner)


def one(core: Core, owner: str, id: str) -> tuple[DeltaRow, bytes]:
    """A saved calibration with its bytes."""
    with core.store.reading() as db:
        found = records.delta(db, owner, id)
    if found is None:
        raise missing("delta", id)
    return found


def erase(core: Core, owner: str, id: str) -> bool:
    """Really delete a saved calibration."""
    if not core.store.erase(lambda db: records.drop_delta(db, owner, id)):
        raise missing("delta", id)
    return core.store.settle()


def bytes_for(db: sqlite3.Connection, owner: str, id: str, model: Model) -> bytes:
    """A saved calibration that fits `model`. One that is not there is no 404: what the address names is."""
    found = records.delta(db, owner, id)
    if found is None:
        raise ProblemError("bad-delta", missing("delta", id).detail)
    model.session(found[1])  # refuses one of another bundle
    return found[1]


def loaded(number: int, delta_id: str, delta: bytes, now: float) -> StateRow:
    """A saved calibration as the state of a session."""
    return StateRow(number, delta, {"loaded": delta_id}, now)
