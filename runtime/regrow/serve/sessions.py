"""Sessions: open, look, name, erase, and forget those that nobody uses."""

from __future__ import annotations

import secrets
import time
from typing import Any

from regrow.serve import records, saved, support
from regrow.serve.core import Core
from regrow.serve.live import missing
from regrow.serve.problems import limit
from regrow.serve.records import SessionRow


def create(core: Core, owner: str, model_key: str, name: str, delta_id: str | None) -> SessionRow:
    """A new session, fresh or as a saved calibration left it."""
    model, now = core.model(model_key, "body.model"), time.time()
    row = SessionRow(secrets.token_urlsafe(16), owner, model.digest, name, now, now, trimmed=False)
    with core.store.transaction() as db:
        have = len(records.sessions(db, owner))
        if have >= core.limits.sessions:
            raise limit("sessions", have, core.limits.sessions, "delete some first")
        records.add_session(db, row)
        if delta_id is not None:
            delta = saved.bytes_for(db, owner, delta_id, model)
            records.push_state(db, row.id, saved.loaded(1, delta_id, delta, now), core.limits.undo)
    return row


def listed(core: Core, owner: str) -> list[SessionRow]:
    """All sessions of an owner."""
    with core.store.reading() as db:
        return records.sessions(db, owner)


def details(core: Core, owner: str, id: str) -> dict[str, Any]:
    """A session with its samples and what its last adaptation did."""
    live = core.live.get(owner, id)
    with core.store.reading() as db:
        row = records.session(db, owner, id)
        samples, report = records.samples(db, id), records.last_report(db, id)
        count = records.state_count(db, id)
    if row is None:
        raise missing("session", id)
    return {
        "row": row,
        "samples": samples,
        "report": report if report is not None and "losses" in report else None,
        "adaptations": live.session.adaptations,
        "classes": live.session.counts,
        "undo": count if not row.trimmed else count - 1,
        "busy": core.worker.busy(id),
    }


def rename(core: Core, owner: str, id: str, name: str) -> None:
    """Give a session another name."""
    core.live.get(owner, id)
    with core.store.transaction() as db:
        records.rename(db, id, name)
    core.live.drop(id)


def erase(core: Core, owner: str, id: str) -> bool:
    """Delete a session and everything learned in it; False while a backup still reads the log."""
    with core.store.reading() as db:
        if records.session(db, owner, id) is None:
            raise missing("session", id)
    _drop(core, id)
    return core.store.settle()


def retain(core: Core) -> int:
    """Erase sessions that nobody used for long; returns how many."""
    if not core.limits.retain_days:
        return 0
    before = time.time() - 86400 * core.limits.retain_days
    with core.store.reading() as db:
        stale = [id for id in records.stale_sessions(db, before) if not core.worker.busy(id)]
    for id in stale:
        _drop(core, id)
    return len(stale)


def _drop(core: Core, id: str) -> None:
    support.clear(core, id, None, lambda db: records.drop_session(db, id))
    core.live.drop(id)
