"""Sessions in memory: the newest state of each that was used lately, made again from the store when needed.

A `regrow.Session` here is only ever read; learning makes another one and then replaces it. Predictions
therefore need neither a lock nor the store once a session is known.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from regrow import delta as deltas
from regrow.model import Model
from regrow.serve import records
from regrow.serve.problems import ProblemError
from regrow.serve.records import SessionRow
from regrow.serve.store import Store
from regrow.session import Session

KEPT = 64
# Being predicted with counts as use, but not so often that every prediction writes to the disk.
TOUCH_SECONDS = 3600.0


@dataclass(frozen=True, eq=False)
class Live:
    """A session as it is now."""

    row: SessionRow
    model: Model
    session: Session


class LiveSessions:
    """The cache. What is written to the store must be put or dropped here as well."""

    def __init__(self, store: Store, models: Mapping[str, Model]) -> None:
        self._store, self._models = store, models
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Live] = OrderedDict()
        self._writes = 0

    def get(self, owner: str, id: str) -> Live:
        """A session of this owner, from memory or from the store."""
        with self._lock:
            found = self._kept.get(id)
            if found is not None and found.row.owner == owner:
                self._kept.move_to_end(id)
        if found is None or found.row.owner != owner:
            found = self._load(owner, id)
        if time.time() - found.row.touched > TOUCH_SECONDS:
            self._touch(found)
        return found

    def put(self, live: Live) -> None:
        """What the session is from now on; called once the store has it."""
        with self._lock:
            self._writes += 1
            self._keep(live)

    def drop(self, id: str) -> None:
        """Forget; the store knows better now."""
        with self._lock:
            self._writes += 1
            self._kept.pop(id, None)

    def _keep(self, live: Live) -> None:
        self._kept[live.row.id] = live
        self._kept.move_to_end(live.row.id)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _load(self, owner: str, id: str) -> Live:
        writes = self._writes
        with self._store.reading() as db:
            row = records.session(db, owner, id)
            state = None if row is None else records.last_state(db, id)
        if row is None:
            raise missing("session", id)
        model = self._models.get(row.model)
        if model is None:
            raise ProblemError(
                "conflict",
                f"session {id}: belongs to model {row.model[:12]}, expected one that is served; start the "
                "service with that bundle too",
            )
        session = model.session(None if state is None else state.delta)
        live = Live(row, model, session)
        with self._lock:
            # What was read may be old already where somebody wrote meanwhile.
            if writes == self._writes:
                self._keep(live)
        return live

    def _touch(self, live: Live) -> None:
        now = time.time()
        # A disk that takes nothing is no reason not to predict; it is asked again when this is old.
        with suppress(sqlite3.Error), self._store.transaction() as db:
            records.touch(db, live.row.id, now)
        with self._lock:
            if (kept := self._kept.get(live.row.id)) is not None:
                self._kept[live.row.id] = replace(kept, row=replace(kept.row, touched=now))


def missing(what: str, id: object) -> ProblemError:
    """The same words whether it never was, is gone, or is somebody else's."""
    return ProblemError(
        "not-found", f"{what} {str(id)[:80]}: not found, expected one of yours; list them first"
    )


def untaught(session: Session) -> Session:
    """The bundle's own weights under the classes of a session: what it would say had it learned nothing."""
    bundle = session.model.bundle
    learned = deltas.parse(session.dump(), bundle)
    bare = replace(learned, params={}, statistics=dict(bundle.statistics), state=dict(bundle.state))
    return Session(session.model, bare)
