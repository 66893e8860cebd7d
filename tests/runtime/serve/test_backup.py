"""A backup made while the service runs is whole, and something to go on with."""

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from regrow.cli import main
from regrow.serve import records
from regrow.serve.records import SampleRow
from regrow.serve.store import FILE, Store, backup
from tests.runtime.serve.test_store import fill

VERSION_1 = Path(__file__).with_name("version_1.sql")


def test_a_backup_made_while_it_is_written_is_whole(tmp_path: Path) -> None:
    held = Store(tmp_path / "data")
    fill(held, b"something", 1)
    stop = threading.Event()

    def write() -> None:
        i = 0
        while not stop.is_set():
            with held.transaction() as db:  # two rows, always together
                for half in "ab":
                    row = SampleRow(0, half, False, float(i))
                    records.add_sample(db, "s", row, f"{half}{i}", os.urandom(2000))
            i += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for i in range(3):
            assert main(["backup", "--data", str(tmp_path / "data"), "-o", str(tmp_path / f"copy{i}")]) == 0
    finally:
        stop.set()
        thread.join()
    held.close()
    for i in range(3):
        copy = sqlite3.connect(tmp_path / f"copy{i}")
        (a,), (b,) = copy.execute(
            "SELECT sum(label = 'a') FROM samples UNION ALL SELECT sum(label = 'b') FROM samples"
        ).fetchall()
        assert a == b
        copy.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy0", "copy1", "copy2", "data"]


def test_a_backup_is_a_service_to_go_on_with(
    start: Callable[..., Any], give: Callable[..., None], tmp_path: Path
) -> None:
    first = start()
    session = first.client().open("tiny")
    give(session)
    session.adapt()
    (tmp_path / "restored").mkdir()
    backup(first.data, tmp_path / "restored" / FILE)
    session.reset()
    restored = start(data=tmp_path / "restored")
    assert restored.client().session(session.id).details()["adaptations"] == 1


def test_a_backup_of_nothing_or_to_nowhere_is_refused(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, err = run("backup", "--data", tmp_path, "-o", tmp_path / "copy")
    assert (code, "expected the data of a service" in err) == (2, True)
    Store(tmp_path / "data").close()
    code, _, err = run("backup", "--data", tmp_path / "data", "-o", tmp_path / "no" / "copy")
    assert (code, "the copy failed" in err) == (2, True)
    (tmp_path / "copy").write_text("mine")
    code, _, err = run("backup", "--data", tmp_path / "data", "-o", tmp_path / "copy")
    assert (code, "exists already" in err) == (2, True)
