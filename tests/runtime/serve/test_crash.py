"""Killed at any moment, with a full disk or one that refuses writes: what was acknowledged is there."""

import io
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

import regrow
from regrow.client import ServiceError
from regrow.errors import RegrowError
from regrow.serve import records
from regrow.serve.store import FILE
from tests.runtime.serve.process import Process, after

NAMES = "abcde"
KEPT = 10**6  # undo steps: nothing is trimmed, so that every acknowledged state can be looked at


class Expected:
    """What a session must be after n adaptations, by doing the same here; asked in any order."""

    def __init__(self, bundle: Path, tiny: ModuleType) -> None:
        x, y = tiny.support(shots=2)
        self.x, self.labels = x, [NAMES[label] for label in y]
        self._session = regrow.open(bundle).session()
        self._made = [self._answer()]

    def _answer(self) -> bytes:
        stream = io.BytesIO()
        np.save(stream, self._session.predict(self.x).probabilities)  # type: ignore[arg-type]
        return stream.getvalue()

    def after(self, adaptations: int) -> bytes:
        while len(self._made) <= adaptations:
            self._session.adapt(self.x, self.labels, steps=1)
            self._made.append(self._answer())
        return self._made[adaptations]


def question(expected: Expected) -> bytes:
    stream = io.BytesIO()
    np.save(stream, expected.x)
    return stream.getvalue()


def check_file(data: Path) -> None:
    copy = data.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data, copy)
    db = sqlite3.connect(copy / FILE)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()


def rounds(count: int, bundle: Path, tiny: ModuleType, tmp_path: Path) -> int:
    """Kill the service `count` times while it adapts; returns how many adaptations it acknowledged."""
    expected, chance = Expected(bundle, tiny), random.Random(7)
    data, acknowledged, id = tmp_path / "data", 0, None
    for number in range(count):
        service = Process(bundle, data, tmp_path / "log", undo=KEPT)
        if id is None:
            session = service.client.open("tiny")
            id = session.id
            for label in NAMES:
                own = [i for i, name in enumerate(expected.labels) if name == label]
                session.add(label, expected.x[own].tolist())
        session = service.client.session(id)
        found = session.details()["adaptations"]
        # At most the one that was under way may be there beyond those acknowledged.
        assert acknowledged <= found <= acknowledged + 1, number
        assert len(session.details()["samples"]) == 10
        assert session.predict_npy(question(expected)) == expected.after(found), number
        acknowledged = found
        killer = after(chance.uniform(0.0, 0.5), service.kill)
        try:
            while True:
                session.adapt(steps=1)
                acknowledged += 1
        except RegrowError:
            killer.join()
        check_file(data)
    service = Process(bundle, data, tmp_path / "log", undo=KEPT)
    session = service.client.session(str(id))
    found = session.details()["adaptations"]
    assert acknowledged <= found <= acknowledged + 1
    for left in range(found - 1, max(0, found - 4), -1):
        session.undo()
        assert session.predict_npy(question(expected)) == expected.after(left)
    assert service.stop() in (0, -15)
    return acknowledged


def test_what_was_acknowledged_survives_kill(bundle: Path, tiny: ModuleType, tmp_path: Path) -> None:
    assert rounds(3, bundle, tiny, tmp_path) > 3


@pytest.mark.slow
def test_hundreds_of_adaptations_survive_being_killed_at_random(
    bundle: Path, tiny: ModuleType, tmp_path: Path
) -> None:
    assert rounds(60, bundle, tiny, tmp_path) > 300


def namespace(tmp_path: Path, options: str, then: str = "") -> list[str]:
    """Words that run a command where `tmp_path`/disk is a small disk of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o {options} none '{disk}'"
    probe = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no small disk can be mounted here: {probe.stderr.strip()}")
    return ["unshare", "-rm", "sh", "-c", f'{mount} && {then or ":"} && exec "$@"', "sh"]


@pytest.fixture
def unshare() -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on this machine")


def until_refused(act: Callable[[], Any]) -> tuple[ServiceError, int]:
    """Do it again and again; the refusal in the end, and how often it went well before."""
    done = 0
    while True:
        try:
            act()
        except ServiceError as error:
            return error, done
        done += 1


@pytest.mark.usefixtures("unshare")
def test_a_full_disk_refuses_writes_keeps_answering_and_recovers(
    bundle: Path, tiny: ModuleType, tmp_path: Path, query: Any
) -> None:
    before = namespace(tmp_path, "size=7m")
    service = Process(bundle, tmp_path / "disk" / "data", tmp_path / "log", before=before, samples=10**6)
    try:
        session, other = service.client.open("tiny"), service.client.open("tiny")
        for label in "ab":
            session.add(label, query[NAMES.index(label) * 3 :][:3].tolist())
        session.adapt()
        taught = session.predict([query[0].tolist()])
        rng = np.random.default_rng(0)
        full, requests = until_refused(lambda: other.add("x", rng.normal(size=(256, 6)).tolist()))
        assert (full.status, full.kind) == (507, "disk")
        assert "the disk is full" in str(full)
        with pytest.raises(ServiceError) as unready:
            service.client.json("GET", "/v1/ready")
        assert unready.value.kind == "not-ready"
        refused, _ = until_refused(session.adapt)
        assert refused.kind == "disk"
        count = session.details()["adaptations"]
        assert len(other.details()["samples"]) == 256 * requests  # all of a request or nothing of it
        assert session.predict([query[0].tolist()]).labels == taught.labels
        other.erase()
        assert service.client.json("GET", "/v1/ready")["status"] == "ok"
        session.adapt()
        assert session.details()["adaptations"] == count + 1
    finally:
        service.stop()


@pytest.mark.usefixtures("unshare")
def test_a_read_only_disk_is_refused_at_the_start(bundle: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    before = namespace(tmp_path, "size=12m", f"mkdir '{disk}/data' && mount -o remount,ro '{disk}'")
    code = f"from regrow.serve.store import Store; Store({str(disk / 'data')!r})"
    done = subprocess.run([*before, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "cannot hold the service's data (Read-only file system)" in done.stderr


def test_a_disk_that_turns_read_only_refuses_writes_and_keeps_answering(
    service: Any, give: Callable[..., None], query: Any
) -> None:
    session = service.client().open("tiny")
    give(session)
    session.adapt()
    before = session.predict(query.tolist())
    with service.core.store.transaction() as db:  # so long unused that being used is worth a note
        records.touch(db, session.id, time.time() - 86400)
    service.core.live.drop(session.id)
    service.core.store._connection.execute("PRAGMA query_only = ON")
    for act in (session.adapt, session.undo, session.erase, lambda: service.client().open("tiny")):
        with pytest.raises(ServiceError) as refused:
            act()
        assert (refused.value.kind, refused.value.status) == ("disk", 507)
        assert "the disk is read-only" in str(refused.value)
    assert session.predict(query.tolist()).labels == before.labels
    service.core.store._connection.execute("PRAGMA query_only = OFF")
    session.undo()
    assert session.details()["adaptations"] == 0
