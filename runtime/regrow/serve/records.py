"""What the tables hold, as rows in and out. Every function runs inside a transaction of its caller."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

Db = sqlite3.Connection


@dataclass(frozen=True)
class SessionRow:
    """A session; `trimmed` once its oldest states were dropped, so that undo cannot reach the bundle."""

    id: str
    owner: str
    model: str
    name: str
    created: float
    touched: float
    trimmed: bool


@dataclass(frozen=True)
class SampleRow:
    """A labelled sample without its numbers."""

    id: int
    label: str
    held_back: bool
    created: float


@dataclass(frozen=True)
class StateRow:
    """What a session was after one adaptation or load; the highest number is now."""

    number: int
    delta: bytes
    report: dict[str, Any]
    created: float


@dataclass(frozen=True)
class DeltaRow:
    """A saved calibration without its bytes."""

    id: str
    owner: str
    model: str
    name: str
    bytes: int
    created: float


def add_session(db: Db, row: SessionRow) -> None:
    """A new session."""
    values = (row.id, row.owner, row.model, row.name, row.created, row.touched, row.trimmed)
    db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def sessions(db: Db, owner: str) -> list[SessionRow]:
    """Sessions of an owner, oldest first."""
    rows = db.execute("SELECT * FROM sessions WHERE owner = ? ORDER BY created, id", (owner,))
    return [_session(row) for row in rows]


def session(db: Db, owner: str, id: str) -> SessionRow | None:
    """One session, if it is this owner's."""
    row = db.execute("SELECT * FROM sessions WHERE id = ? AND owner = ?", (id, owner)).fetchone()
    return None if row is None else _session(row)


def _session(row: tuple[Any, ...]) -> SessionRow:
    id, owner, model, name, created, touched, trimmed = row
    return SessionRow(id, owner, model, name, created, touched, bool(trimmed))


def touch(db: Db, id: str, now: float) -> None:
    """The session was used."""
    db.execute("UPDATE sessions SET touched = ? WHERE id = ?", (now, id))


def rename(db: Db, id: str, name: str) -> None:
    """A new name for a session."""
    db.execute("UPDATE sessions SET name = ? WHERE id = ?", (name, id))


def drop_session(db: Db, id: str) -> None:
    """A session with its samples and states."""
    db.execute("DELETE FROM sessions WHERE id = ?", (id,))


def stale_sessions(db: Db, before: float) -> list[str]:
    """Sessions nobody has used since."""
    return [id for (id,) in db.execute("SELECT id FROM sessions WHERE touched < ?", (before,))]


def add_sample(db: Db, session: str, row: SampleRow, digest: str, x: bytes) -> int:
    """A new sample; returns its number (that of `row` is ignored)."""
    cursor = db.execute(
        "INSERT INTO samples (session, label, held_back, digest, x, created) VALUES (?, ?, ?, ?, ?, ?)",
        (session, row.label, row.held_back, digest, x, row.created),
    )
    return int(cursor.lastrowid or 0)


def samples(db: Db, session: str) -> list[SampleRow]:
    """The samples of a session in the order they came."""
    query = "SELECT id, label, held_back, created FROM samples WHERE session = ? ORDER BY id"
    return [SampleRow(i, label, bool(held), at) for i, label, held, at in db.execute(query, (session,))]


def contents(db: Db, session: str) -> list[tuple[str, bool, bytes]]:
    """Label, held back or not, and stored numbers of every sample."""
    query = "SELECT label, held_back, x FROM samples WHERE session = ? ORDER BY id"
    return [(label, bool(held), x) for label, held, x in db.execute(query, (session,))]


def sample(db: Db, session: str, id: int) -> bytes | None:
    """The stored numbers of one sample."""
    row = db.execute("SELECT x FROM samples WHERE session = ? AND id = ?", (session, id)).fetchone()
    return None if row is None else bytes(row[0])


def label_of(db: Db, session: str, digest: str) -> str | None:
    """The label under which the very same sample was given before."""
    row = db.execute("SELECT label FROM samples WHERE session = ? AND digest = ?", (session, digest))
    found = row.fetchone()
    return None if found is None else str(found[0])


def hold_back(db: Db, session: str, id: int, held_back: bool) -> bool:
    """Keep a sample for checking, or learn from it; False where there is none."""
    query = "UPDATE samples SET held_back = ? WHERE session = ? AND id = ?"
    return db.execute(query, (held_back, session, id)).rowcount == 1


def drop_samples(db: Db, session: str, id: int | None = None, label: str | None = None) -> int:
    """One sample, those of a class, or all; returns how many there were."""
    query, values = "DELETE FROM samples WHERE session = ?", [session]
    if id is not None:
        return db.execute(f"{query} AND id = ?", (*values, id)).rowcount
    if label is not None:
        return db.execute(f"{query} AND label = ?", (*values, label)).rowcount
    return db.execute(query, values).rowcount


def rename_label(db: Db, session: str, old: str, new: str) -> int:
    """Another name for a class; returns how many samples it has."""
    query = "UPDATE samples SET label = ? WHERE session = ? AND label = ?"
    return db.execute(query, (new, session, old)).rowcount


def sample_count(db: Db, session: str) -> int:
    """How many samples a session has."""
    (count,) = db.execute("SELECT count(*) FROM samples WHERE session = ?", (session,)).fetchone()
    return int(count)


def drop_some(db: Db, session: str, label: str | None, most: int) -> bool:
    """Samples (of a class) until `most` bytes are gone, at least one; False once none is left."""
    query = "SELECT id, length(x) FROM samples WHERE session = ? AND (?2 IS NULL OR label = ?2) ORDER BY id"
    freed = 0
    for id, size in db.execute(query, (session, label)).fetchmany(1000):
        if freed and freed + size > most:
            break
        freed += size
        db.execute("DELETE FROM samples WHERE id = ?", (id,))
    return freed > 0


def last_state(db: Db, session: str) -> StateRow | None:
    """What the session is now; None where it is the bundle."""
    query = "SELECT number, delta, report, created FROM states WHERE session = ? ORDER BY number DESC LIMIT 1"
    row = db.execute(query, (session,)).fetchone()
    return None if row is None else StateRow(row[0], row[1], json.loads(row[2]), row[3])


def states(db: Db, session: str) -> list[StateRow]:
    """All that undo can reach and what the session is now, oldest first."""
    rows = db.execute(
        "SELECT number, delta, report, created FROM states WHERE session = ? ORDER BY number", (session,)
    )
    return [StateRow(n, bytes(delta), json.loads(report), at) for n, delta, report, at in rows]


def replace_state(db: Db, session: str, row: StateRow) -> None:
    """The same state in other words."""
    query = "UPDATE states SET delta = ?, report = ? WHERE session = ? AND number = ?"
    db.execute(query, (row.delta, json.dumps(row.report), session, row.number))


def last_number(db: Db, session: str) -> int | None:
    """The number of what the session is now; None where it is the bundle."""
    (number,) = db.execute("SELECT max(number) FROM states WHERE session = ?", (session,)).fetchone()
    return None if number is None else int(number)


def last_report(db: Db, session: str) -> dict[str, Any] | None:
    """What made the session what it is now, without the bytes."""
    query = "SELECT report FROM states WHERE session = ? ORDER BY number DESC LIMIT 1"
    row = db.execute(query, (session,)).fetchone()
    return None if row is None else dict(json.loads(row[0]))


def state_count(db: Db, session: str) -> int:
    """How many states are kept."""
    (count,) = db.execute("SELECT count(*) FROM states WHERE session = ?", (session,)).fetchone()
    return int(count)


def push_state(db: Db, session: str, row: StateRow, keep: int) -> None:
    """A new state on top; all but the `keep` newest below it are dropped."""
    values = (session, row.number, row.delta, json.dumps(row.report), row.created)
    db.execute("INSERT INTO states VALUES (?, ?, ?, ?, ?)", values)
    old = "DELETE FROM states WHERE session = ? AND number < ?"
    if db.execute(old, (session, row.number - keep)).rowcount:
        db.execute("UPDATE sessions SET trimmed = 1 WHERE id = ?", (session,))


def pop_state(db: Db, session: str, number: int) -> None:
    """Undo."""
    db.execute("DELETE FROM states WHERE session = ? AND number = ?", (session, number))


def drop_states(db: Db, session: str) -> None:
    """Reset."""
    db.execute("DELETE FROM states WHERE session = ?", (session,))
    db.execute("UPDATE sessions SET trimmed = 0 WHERE id = ?", (session,))


def add_delta(db: Db, row: DeltaRow, delta: bytes) -> None:
    """Save a calibration."""
    values = (row.id, row.owner, row.model, row.name, delta, row.created)
    db.execute("INSERT INTO deltas VALUES (?, ?, ?, ?, ?, ?)", values)


def deltas(db: Db, owner: str) -> list[DeltaRow]:
    """Saved calibrations of an owner, oldest first."""
    query = "SELECT id, owner, model, name, length(delta), created FROM deltas WHERE owner = ?"
    return [DeltaRow(*row) for row in db.execute(f"{query} ORDER BY created, id", (owner,))]


def delta(db: Db, owner: str, id: str) -> tuple[DeltaRow, bytes] | None:
    """One saved calibration, if it is this owner's."""
    query = "SELECT id, owner, model, name, length(delta), created, delta FROM deltas WHERE id = ?"
    row = db.execute(f"{query} AND owner = ?", (id, owner)).fetchone()
    return None if row is None else (DeltaRow(*row[:-1]), bytes(row[-1]))


def drop_delta(db: Db, owner: str, id: str) -> bool:
    """False where there is none."""
    return db.execute("DELETE FROM deltas WHERE id = ? AND owner = ?", (id, owner)).rowcount == 1


def totals(db: Db) -> dict[str, int]:
    """Rows per table, for the metrics."""
    tables = ("sessions", "samples", "states", "deltas")
    return {name: int(db.execute(f"SELECT count(*) FROM {name}").fetchone()[0]) for name in tables}


def add_token(db: Db, name: str, hash: bytes, now: float) -> bool:
    """False where the name is taken."""
    query = "INSERT OR IGNORE INTO tokens VALUES (?, ?, ?)"
    return db.execute(query, (name, hash, now)).rowcount == 1


def tokens(db: Db) -> list[tuple[str, bytes]]:
    """Names and hashes."""
    return [(name, bytes(hash)) for name, hash in db.execute("SELECT name, hash FROM tokens ORDER BY name")]


def drop_token(db: Db, name: str) -> bool:
    """False where there is none."""
    return db.execute("DELETE FROM tokens WHERE name = ?", (name,)).rowcount == 1


def drop_owner(db: Db, name: str) -> int:
    """A token and all that its owner stored; returns how many rows there were."""
    queries = (
        "DELETE FROM sessions WHERE owner = ?",
        "DELETE FROM deltas WHERE owner = ?",
        "DELETE FROM tokens WHERE name = ?",
    )
    return sum(db.execute(query, (name,)).rowcount for query in queries)
