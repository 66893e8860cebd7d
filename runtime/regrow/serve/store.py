"""One SQLite file that holds sessions, samples, states, deltas and tokens. Knows tables, not their meaning.

WAL with full synchronisation: a transaction that has returned survives the loss of power. Deleted content is
overwritten (`secure_delete`), its pages are given back, and `erase` empties the write-ahead log as well.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from regrow.errors import RegrowError
from regrow.files import StrPath, sync_directory

T = TypeVar("T")

FILE = "service.db"
BALLAST = "ballast"
BALLAST_BYTES = 4 * 2**20
# Seconds to wait for another process (tokens, a backup) to let go of the file.
PATIENCE = 10.0

# One script per version of the schema, in order; a released one is never edited.
MIGRATIONS = (
    """
    CREATE TABLE sessions (
      id TEXT PRIMARY KEY, owner TEXT NOT NULL, model TEXT NOT NULL, name TEXT NOT NULL,
      created REAL NOT NULL, touched REAL NOT NULL, trimmed INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX sessions_by_owner ON sessions (owner, created);
    CREATE TABLE samples (
      id INTEGER PRIMARY KEY AUTOINCREMENT, session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
      label TEXT NOT NULL, held_back INTEGER NOT NULL, digest TEXT NOT NULL, x BLOB NOT NULL,
      created REAL NOT NULL
    ) STRICT;
    CREATE INDEX samples_by_session ON samples (session, id);
    CREATE INDEX samples_by_digest ON samples (session, digest);
    CREATE TABLE states (
      session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE, number INTEGER NOT NULL,
      delta BLOB NOT NULL, report TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (session, number)
    ) STRICT;
    CREATE TABLE deltas (
      id TEXT PRIMARY KEY, owner TEXT NOT NULL, model TEXT NOT NULL, name TEXT NOT NULL,
      delta BLOB NOT NULL, created REAL NOT NULL
    ) STRICT;
    CREATE INDEX deltas_by_owner ON deltas (owner, created);
    CREATE TABLE tokens (name TEXT PRIMARY KEY, hash BLOB NOT NULL, created REAL NOT NULL) STRICT;
    """,
)


class Store:
    """The file, one connection, one lock. `exclusive` is for the service: two on one folder is an error."""

    def __init__(self, folder: StrPath, *, exclusive: bool = True) -> None:
        self.folder = Path(folder)
        self.path = self.folder / FILE
        self._lock = threading.RLock()
        self._held: int | None = None
        try:
            _make(self.folder)
            if exclusive:
                self._held = _hold(self.folder)
                _lay_ballast(self.folder)
            self._connection = _connect(self.path)
            self._migrate()
            sync_directory(self.folder)
        except (OSError, sqlite3.Error) as error:
            self._release()
            raise RegrowError(
                f"{folder}: cannot hold the service's data ({_words(error)}), expected a writable folder "
                "with free space; choose another with --data"
            ) from error

    def _migrate(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            self.close()
            raise RegrowError(
                f"{self.path}: schema version {version}, expected at most {len(MIGRATIONS)}; a newer regrow "
                "wrote it: upgrade with `pip install -U regrow`"
            )
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            with self.transaction() as db:
                for statement in script.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block or nothing of it, on the disk when it ends."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A consistent look without the right to change anything."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("ROLLBACK")

    def erase(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """A transaction that deletes, then `settle`. On a full disk its log gets the room of the ballast."""
        with self._lock:
            try:
                with self.transaction() as db:
                    return act(db)
            except sqlite3.OperationalError as error:
                if not is_full(error):
                    raise
                (self.folder / BALLAST).unlink(missing_ok=True)
                with self.transaction() as db:
                    return act(db)
            finally:
                self.settle()

    def settle(self, patience: float = 2.0) -> bool:
        """Empty the log and give free pages back; False while somebody (a backup) still reads the log."""
        with self._lock:
            try:
                self._connection.execute(f"PRAGMA busy_timeout = {int(1000 * patience)}")
                # `execute` would give back a single page: the statement has no rows to be fetched.
                self._connection.executescript("PRAGMA incremental_vacuum")
                busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.Error:
                busy = 1
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {int(1000 * PATIENCE)}")
            _lay_ballast(self.folder)
        return not busy

    def probe(self) -> None:
        """Raise where nothing could be stored now; changes nothing."""
        with self.transaction() as db:
            db.execute("UPDATE tokens SET created = created WHERE 0")
        with open(self.folder / ".probe", "wb") as file:
            file.write(b"\0" * 4096)
        (self.folder / ".probe").unlink()

    def bytes(self) -> int:
        """Bytes of the file and its log."""
        return sum(p.stat().st_size for p in self.folder.glob(f"{FILE}*"))

    def close(self) -> None:
        """Let go of the file; what was stored stays."""
        with self._lock:
            self._connection.close()
            self._release()

    def _release(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None


def is_full(error: sqlite3.OperationalError) -> bool:
    """Whether it was for want of space."""
    return error.sqlite_errorcode == sqlite3.SQLITE_FULL


def backup(folder: StrPath, target: StrPath) -> int:
    """Copy the file of a running or stopped service, check the copy, return its bytes."""
    source, path = Path(folder) / FILE, Path(target)
    if not source.is_file():
        raise RegrowError(f"{source}: not found, expected the data of a service; name its folder with --data")
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _copy(source, part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        sync_directory(path.parent)
        return path.stat().st_size
    except (OSError, sqlite3.Error) as error:
        raise RegrowError(
            f"{target}: the copy failed ({_words(error)}), an older file is intact; check disk and path"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _copy(source: Path, part: Path) -> None:
    reader = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
    writer = sqlite3.connect(part)
    try:
        os.chmod(part, 0o600)
        reader.backup(writer, pages=1024, sleep=0.01)
        # A copy is one file: without a log of its own it can be moved anywhere.
        writer.execute("PRAGMA journal_mode = DELETE")
        (verdict,) = writer.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"integrity check: {verdict}")
    finally:
        writer.close()
        reader.close()


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    # Every use is under the lock of the store, so any thread may be the one.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=PATIENCE)
    for pragma in (
        "auto_vacuum = INCREMENTAL",  # only heeded before the first table
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = ON",
        "temp_store = MEMORY",
        "trusted_schema = OFF",
    ):
        db.execute(f"PRAGMA {pragma}")
    return db


def _make(folder: Path) -> None:
    """The folder, and on the disk the names that lead to it: a file whose folder is lost is lost."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in missing:
        sync_directory(path.parent)


def _hold(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise RegrowError(
            f"{folder}: another service runs on this folder, expected none; stop it or choose another --data"
        ) from error
    return descriptor


def _lay_ballast(folder: Path) -> None:
    """Space that deleting may use when the disk is full. Without room for it there is none, which is fine."""
    path = folder / BALLAST
    try:
        if not path.exists() or path.stat().st_size != BALLAST_BYTES:
            path.write_bytes(b"\0" * BALLAST_BYTES)
    except OSError:
        path.unlink(missing_ok=True)


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
