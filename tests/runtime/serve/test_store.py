"""The file: all or nothing, really erased, backed up while used, refused where it cannot be held."""

import io
import json
import os
import sqlite3
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

import regrow
from regrow.errors import RegrowError
from regrow.serve import records, sessions, store
from regrow.serve.records import SampleRow, SessionRow
from regrow.serve.store import FILE, MIGRATIONS, Store

VERSION_1 = Path(__file__).with_name("version_1.sql")


def everything(folder: Path) -> bytes:
    """Every byte the service has on the disk."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def fill(held: Store, secret: bytes, count: int = 30) -> None:
    with held.transaction() as db:
        records.add_session(db, SessionRow("s", "", "m", "name", 1.0, 1.0, trimmed=False))
    for i in range(count):
        with held.transaction() as db:
            records.add_sample(db, "s", SampleRow(0, secret.decode(), False, 1.0), f"d{i}", secret * 300)


def test_what_is_deleted_is_nowhere_on_the_disk(tmp_path: Path) -> None:
    held, secret = Store(tmp_path), b"a-private-sample"
    fill(held, secret)
    assert secret in everything(tmp_path)
    grown = held.bytes()
    held.erase(lambda db: records.drop_samples(db, "s"))
    assert held.settle()
    assert secret not in everything(tmp_path)
    assert held.bytes() < grown / 4  # the pages were given back, too
    held.close()
    assert secret not in everything(tmp_path)


def test_erasing_over_http_erases_from_the_disk(service: Any, give: Callable[..., None]) -> None:
    client = service.client()
    session = client.open("tiny", name="name-of-a-person")
    session.add("label-of-a-person", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    session.add("other", [0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    session.adapt()
    session.erase_samples(label="label-of-a-person")
    assert [s["label"] for s in session.details()["samples"]] == ["other"]
    kept, numbers = everything(service.data), np.float32([0.6, 0.5, 0.4, 0.3, 0.2, 0.1]).tobytes()
    assert (b"name-of-a-person" in kept, numbers in kept) == (True, True)
    assert np.float32([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).tobytes() not in kept
    session.rename_class("other", "renamed-person")
    kept = everything(service.data)
    assert (b"renamed-person" in kept, b"other" in kept) == (True, False)
    session.erase()
    left = everything(service.data)
    for secret in (
        b"label-of-a-person",
        b"name-of-a-person",
        b"renamed-person",
        session.id.encode(),
        numbers,
    ):
        assert secret not in left


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    held = Store(tmp_path)

    def half() -> None:
        with held.transaction() as db:
            records.add_session(db, SessionRow("s", "", "m", "name", 1.0, 1.0, trimmed=False))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    with held.reading() as db:
        assert records.sessions(db, "") == []
    with pytest.raises(sqlite3.IntegrityError), held.transaction() as db:
        records.add_sample(db, "no such session", SampleRow(0, "a", False, 1.0), "d", b"x")
    held.close()


def test_it_is_durable_private_and_strict(tmp_path: Path) -> None:
    held = Store(tmp_path / "new" / "folder")
    with held.reading() as db:
        found = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "auto_vacuum")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "auto_vacuum": 2,
    }
    assert os.stat(held.path).st_mode & 0o077 == 0
    assert os.stat(held.folder).st_mode & 0o077 == 0
    held.close()


def test_one_service_per_folder(tmp_path: Path) -> None:
    held = Store(tmp_path)
    with pytest.raises(RegrowError, match="another service runs on this folder"):
        Store(tmp_path)
    Store(tmp_path, exclusive=False).close()  # tokens and backups may be made beside it
    held.close()
    Store(tmp_path).close()


def test_a_newer_schema_is_refused_and_an_older_one_is_brought_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path).close()
    added = "ALTER TABLE sessions ADD COLUMN note TEXT NOT NULL DEFAULT 'none'; CREATE TABLE more (a) STRICT"
    monkeypatch.setattr(store, "MIGRATIONS", (*MIGRATIONS, added.replace("(a)", "(a TEXT)")))
    newer = Store(tmp_path)
    with newer.reading() as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        assert db.execute("SELECT count(*) FROM more").fetchone() == (0,)
    newer.close()
    monkeypatch.setattr(store, "MIGRATIONS", MIGRATIONS)
    with pytest.raises(RegrowError, match=r"schema version 2, expected at most 1; a newer regrow"):
        Store(tmp_path)
    monkeypatch.setattr(store, "MIGRATIONS", (*MIGRATIONS, added, "CREATE TABLE broken (; nonsense"))
    before = (tmp_path / FILE).stat().st_size
    with pytest.raises(RegrowError, match="cannot hold the service's data"):
        Store(tmp_path)
    assert (tmp_path / FILE).stat().st_size == before


def write_version_1(path: Path, model: regrow.Model, x: Any) -> None:
    """What a service of version 1 left on the disk: a session that learned, and a saved calibration."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(VERSION_1.read_text(encoding="utf-8"))
    taught = model.session()
    report = taught.adapt(x[:2], ["a", "b"])
    said = {"losses": [float(v) for v in report.losses], "loss": report.loss, "steps": report.steps}
    said |= {"samples": 2, "elapsed_ms": 1.0, "peak_bytes": 1, "memory": "exact", "engine": "native"}
    said |= {"stepwise": True, "classes": {"a": 1, "b": 1}, "check": None, "layers": []}
    now = time.time()
    db.execute("INSERT INTO sessions VALUES ('s1', '', ?, 'kitchen door', ?, ?, 0)", (model.digest, now, now))
    for i, (label, held_back) in enumerate((("a", 0), ("b", 0), ("b", 1))):
        stream = io.BytesIO()
        np.save(stream, x[i])
        row = (i + 1, label, held_back, f"digest {i}", stream.getvalue(), now)
        db.execute("INSERT INTO samples VALUES (?, 's1', ?, ?, ?, ?, ?)", row)
    db.execute("INSERT INTO states VALUES ('s1', 1, ?, ?, ?)", (taught.dump(), json.dumps(said), now))
    db.execute("INSERT INTO deltas VALUES ('d1', '', ?, 'May', ?, ?)", (model.digest, taught.dump(), now))
    db.commit()
    db.close()


def test_what_the_first_version_wrote_is_read(
    start: Callable[..., Any], bundle: Path, tmp_path: Path, query: Any
) -> None:
    assert textwrap.dedent(MIGRATIONS[0]).strip() in VERSION_1.read_text(encoding="utf-8")
    (tmp_path / "data").mkdir()
    write_version_1(tmp_path / "data" / FILE, regrow.open(bundle), query)
    service = start()
    client = service.client()
    (saved,) = client.deltas()
    (session,) = [client.session(one["id"]) for one in client.sessions()]
    details = session.details()
    assert (details["name"], details["adaptations"], details["undo"]) == ("kitchen door", 1, 1)
    assert [(s["label"], s["held_back"]) for s in details["samples"]] == [
        ("a", False),
        ("b", False),
        ("b", True),
    ]
    assert session.predict(query.tolist()).classes == ("a", "b")
    assert client.open("tiny", delta=saved.id).predict(query.tolist()).classes == ("a", "b")
    session.adapt()
    assert session.details()["undo"] == 2
    with service.core.store.reading() as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 500])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(RegrowError, match="cannot hold the service's data"):
        Store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == content
    with pytest.raises(RegrowError, match="cannot hold the service's data"):
        Store(tmp_path / FILE)


def test_erasing_waits_for_a_reader_and_is_finished_later(tmp_path: Path) -> None:
    held, secret = Store(tmp_path), b"a-private-sample"
    fill(held, secret)
    reader = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM samples").fetchone()
    with held.transaction() as db:
        records.drop_samples(db, "s")
    assert not held.settle(patience=0.1)
    assert secret in everything(tmp_path)
    reader.execute("ROLLBACK")
    reader.close()
    assert held.settle()
    assert secret not in everything(tmp_path)
    held.close()


def test_sessions_nobody_uses_are_forgotten(start: Callable[..., Any]) -> None:
    service = start(limits={"retain_days": 10.0})
    client = service.client()
    old, new = client.open("tiny"), client.open("tiny")
    with service.core.store.transaction() as db:
        records.touch(db, old.id, time.time() - 11 * 86400)
    assert sessions.retain(service.core) == 1
    assert [s["id"] for s in client.sessions()] == [new.id]
    assert sessions.retain(service.core) == 0


def test_being_predicted_with_is_use(start: Callable[..., Any], query: Any) -> None:
    service = start(limits={"retain_days": 10.0})
    session = service.client().open("tiny")
    with service.core.store.transaction() as db:
        records.touch(db, session.id, time.time() - 9 * 86400)
    service.core.live.drop(session.id)
    session.predict(query.tolist())
    (row,) = sessions.listed(service.core, "")
    assert time.time() - row.touched < 60
