"""Every limit and every mistake has a problem of its own, in words, and changes nothing."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from regrow.client import Client, RemoteSession, ServiceError
from regrow.serve.metrics import Metrics
from regrow.serve.problems import KINDS, ProblemError
from regrow.serve.worker import Worker

ROW = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def refused(kind: str, act: Callable[[], Any]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        act()
    assert (caught.value.kind, caught.value.status) == (kind, KINDS[kind][0]), caught.value.problem
    assert caught.value.problem["title"] == KINDS[kind][1]
    assert len(str(caught.value)) > 20
    return caught.value


def test_one_class_is_not_enough(client: Client) -> None:
    session = client.open("tiny")
    assert "none to learn from" in str(refused("one-class", session.adapt))
    session.add("cup", ROW)
    error = refused("one-class", session.adapt)
    assert str(error).startswith("samples: of 1 class (cup), expected at least 2 classes")
    assert (error.problem["found"], error.problem["limit"]) == (1, 2)


def test_the_same_sample_cannot_be_two_things(client: Client) -> None:
    session = client.open("tiny")
    session.add("cup", ROW)
    error = refused("contradiction", lambda: session.add("door", [[0.0, *ROW[1:]], ROW]))
    assert "given as 'cup' before, now as 'door'" in str(error)
    assert [s["label"] for s in session.details()["samples"]] == ["cup"]  # not even the first of the two


def test_a_blank_sample_is_refused_unless_asked_for(client: Client) -> None:
    session = client.open("tiny")
    refused("blank-sample", lambda: session.add("silence", [0.5] * 6))
    path = f"/v1/sessions/{session.id}/samples?label=silence&allow_blank=true"
    client.json("POST", path, {"x": [0.5] * 6})
    assert len(session.details()["samples"]) == 1


HOSTILE = [
    (b"{", "no JSON"),
    (b"[1, 2]", "no list of numbers"),
    (b'{"x": "abc"}', "no list of numbers"),
    (b'{"x": [[1, 2], [3]]}', "ragged"),
    (b'{"x": [1, 2, 3]}', "shape (3,), expected (n, 6)"),
    (b'{"x": [NaN, 1, 2, 3, 4, 5]}', "nan in sample 0"),
    (b'{"x": [1e400, 1, 2, 3, 4, 5]}', "inf in sample 0"),
    (b'{"x": []}', "shape (0,)"),
    (b'{"x": [1' + b"0" * 400 + b", 1, 2, 3, 4, 5]}", "no list of numbers"),
    (b"[" * 100_000, "no JSON"),
]


def test_hostile_numbers_are_refused(client: Client) -> None:
    session = client.open("tiny")
    for body, found in HOSTILE:
        for path in ("samples?label=a", "predict"):
            with pytest.raises(ServiceError, match=r"^(body|sample|label): ") as caught:
                client.send("POST", f"/v1/sessions/{session.id}/{path}", body)
            assert found in str(caught.value)
            assert caught.value.status in (400, 422)
    assert session.details()["samples"] == []


def test_content_types_are_checked_before_parsing(client: Client) -> None:
    session = client.open("tiny")
    refused("media-type", lambda: session.predict(b"<x/>", "text/xml"))
    refused("media-type", lambda: client.send("POST", "/v1/deltas?model=tiny&name=a", b"{}"))
    assert "takes signals" in str(refused("bad-sample", lambda: session.predict(b"\x89PNG", "image/png")))


def test_counts_have_limits(start: Callable[..., Any], tiny: ModuleType) -> None:
    limits = {"sessions": 2, "samples": 3, "steps": 7, "batch": 2, "deltas": 1}
    client = start(limits=limits).client()
    session = client.open("tiny")
    client.open("tiny")
    assert refused("too-many", lambda: client.open("tiny")).problem["limit"] == 2
    refused("too-many", lambda: session.predict([ROW] * 3))
    x, _ = tiny.support(ways=2, shots=2)
    session.add("a", x[:2].tolist())
    refused("too-many", lambda: session.add("b", x[2:].tolist()))
    session.add("b", x[2].tolist())
    refused("too-many", lambda: session.adapt(steps=8))
    session.adapt(steps=7)
    session.save("one")
    refused("too-many", lambda: session.save("two"))
    assert len(session.details()["samples"]) == 3


def test_memory_has_a_budget(start: Callable[..., Any], give: Callable[..., None]) -> None:
    service = start(budget_bytes=12_000)
    session = service.client().open("tiny")
    give(session, shots=60)
    error = refused("budget", session.adapt)
    assert "adapting to 300 samples needs" in str(error)
    assert str(service.bundle) not in str(error.problem)


def test_learning_that_goes_wrong_is_rolled_back(
    start: Callable[..., Any], tiny: ModuleType, tmp_path: Path, give: Callable[..., None]
) -> None:
    tiny.write(tmp_path / "wild.regrow", lr=float("inf"))
    session = start(bundles=[tmp_path / "wild.regrow"]).client().open("tiny")
    give(session)
    before = session.predict([ROW]).probabilities
    assert "rolled back" in str(refused("rolled-back", session.adapt))
    assert session.predict([ROW]).probabilities == before
    assert session.details()["adaptations"] == 0


def test_an_uploaded_delta_is_judged_like_a_hostile_file(
    start: Callable[..., Any], tiny: ModuleType, tmp_path: Path, give: Callable[..., None], bundle: Path
) -> None:
    tiny.write(tmp_path / "other.regrow", seed=9)
    service = start(bundles=[bundle, tmp_path / "other.regrow"])
    client = service.client()
    mine, other = (m["digest"] for m in client.models())
    session = client.open(mine)
    give(session)
    session.adapt()
    good = client.download(session.save("good").id)
    for bad in (b"", b"x" * 500, good[:-1], good + b"\0", good[:100] + b"\xff" + good[101:]):
        error = refused("bad-delta", lambda bad=bad: client.upload(mine, "bad", bad))  # type: ignore[misc]
        assert str(tmp_path) not in str(error.problem)
    error = refused("bad-delta", lambda: client.upload(other, "of another bundle", good))
    assert str(tmp_path) not in str(error.problem)
    refused("bad-delta", lambda: client.upload(mine, "not finite", _poisoned(service, good)))
    assert [d.name for d in client.deltas()] == ["good"]
    refused("bad-delta", lambda: client.open(other).load(client.deltas()[0].id))


def _poisoned(service: Any, good: bytes) -> bytes:
    """A well formed delta whose bias is NaN."""
    from regrow import delta as deltas

    model = next(iter(service.core.models.values()))
    read = deltas.parse(good, model.bundle)
    read.params["head.bias"] = np.full(5, np.nan, np.float32)
    return deltas.pack(read, model.bundle.params)


def test_names_and_ids_are_judged(client: Client) -> None:
    for body in (
        {},
        {"model": "tiny", "name": ""},
        {"model": "tiny", "name": "a\nb"},
        {"model": "tiny", "x": 1},
    ):
        error = refused("invalid", lambda body=body: client.json("POST", "/v1/sessions", body))  # type: ignore[misc]
        assert error.problem["errors"][0]["where"].startswith("body.")
    refused("not-found", lambda: client.open("nonsense"))
    refused("not-found", lambda: client.open("tiny", delta="nonsense"))
    refused("not-found", lambda: client.session("../../etc/passwd").details())
    refused("not-found", lambda: client.session("'; DROP TABLE sessions").details())
    session = client.open("tiny")
    refused("not-found", lambda: session.erase_samples(sample=7))
    refused("invalid", lambda: session.erase_samples(sample=2**60))
    refused("not-found", lambda: client.json("GET", "/v1/nowhere"))
    refused("method-not-allowed", lambda: client.json("PUT", "/v1/sessions"))


class Gate:
    """Holds adaptations at their first step until opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, service: Any) -> None:
        self.open, self.reached = threading.Event(), threading.Semaphore(0)
        check = service.core.worker.check

        def wait() -> None:
            self.reached.release()
            assert self.open.wait(20)
            check()

        monkeypatch.setattr(service.core.worker, "check", wait)

    def learning(self, session: RemoteSession) -> "Learning":
        return Learning(session)


class Learning(threading.Thread):
    """An adaptation on a thread; `outcome` is its report or its refusal."""

    def __init__(self, session: RemoteSession) -> None:
        super().__init__()
        self.session, self.outcome = session, None
        self.start()

    def run(self) -> None:
        try:
            self.outcome: Any = self.session.adapt()
        except ServiceError as error:
            self.outcome = error


def test_the_queue_is_bounded_fair_and_nobodys_predictions_wait(
    start: Callable[..., Any], give: Callable[..., None], monkeypatch: pytest.MonkeyPatch, query: Any
) -> None:
    service = start(limits={"queue": 1})
    client, gate = service.client(), Gate(monkeypatch, service)
    sessions = [client.open("tiny") for _ in range(3)]
    for session in sessions:
        give(session)
    running = gate.learning(sessions[0])
    assert gate.reached.acquire(timeout=20)
    for act in (sessions[0].adapt, sessions[0].undo, sessions[0].reset):
        refused("busy", act)
    waiting = gate.learning(sessions[1])
    while len(service.core.worker) < 2:
        assert waiting.is_alive()
    error = refused("queue-full", sessions[2].adapt)
    assert error.problem["limit"] == 1
    # While one learns and one waits, everyone is answered: others, and the learner from its old state.
    assert sessions[2].predict(query.tolist()).labels
    assert sessions[0].predict(query.tolist()).classes[0] == "output 0"
    assert sessions[0].details()["busy"] is True
    gate.open.set()
    running.join(20)
    waiting.join(20)
    assert (running.outcome.steps, waiting.outcome.steps) == (5, 5)
    assert sessions[2].adapt().steps == 5


def test_owners_take_turns_however_much_one_asks_for() -> None:
    worker, gate, done = Worker(1, 3, Metrics()), threading.Event(), list[str]()

    def work(name: str) -> Callable[[], Callable[[], None]]:
        def run() -> Callable[[], None]:
            assert gate.wait(20)
            return lambda: done.append(name)

        return run

    def ask(owner: str, name: str) -> int:
        return worker.submit(owner, name, work(name), lambda problem: done.append(problem.kind))

    assert ask("ana", "a0") == 0
    while worker.waiting:
        time.sleep(0.001)
    assert [ask("ana", "a1"), ask("ana", "a2"), ask("ana", "a3")] == [1, 2, 3]
    with pytest.raises(ProblemError, match="3 adaptations wait, expected fewer than 3"):
        ask("ana", "a4")
    # Ana's queue is full; Bo's is not, and Bo has only one of Ana's before the own.
    assert [ask("bo", "b1"), ask("bo", "b2"), ask("cy", "c1")] == [2, 4, 3]
    gate.set()
    until = time.monotonic() + 20
    while len(done) < 7 and time.monotonic() < until:
        time.sleep(0.001)
    worker.close(1.0)
    assert done == ["a0", "a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_session_erased_while_it_learns_stays_erased(
    service: Any, give: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, gate = service.client(), Gate(monkeypatch, service)
    session = client.open("tiny")
    give(session)
    running = gate.learning(session)
    assert gate.reached.acquire(timeout=20)
    session.erase()
    gate.open.set()
    running.join(20)
    assert running.outcome.kind == "conflict"
    refused("not-found", session.details)
    with service.core.store.reading() as db:
        assert db.execute("SELECT count(*) FROM states").fetchone() == (0,)


def test_stopping_rolls_back_what_does_not_finish_in_time(
    start: Callable[..., Any], give: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start(limits={"grace_seconds": 1.0})
    gate = Gate(monkeypatch, service)
    session = service.client().open("tiny")
    give(session)
    running = gate.learning(session)
    assert gate.reached.acquire(timeout=20)
    timer = threading.Timer(2.5, gate.open.set)
    timer.start()
    service.stop()
    running.join(20)
    timer.join()
    assert running.outcome.kind == "stopping"
    again = start().client().session(session.id).details()
    assert (again["adaptations"], len(again["samples"])) == (0, 20)


def test_a_client_that_leaves_does_not_lose_what_is_learned(
    service: Any, give: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, gate = service.client(), Gate(monkeypatch, service)
    session = client.open("tiny")
    give(session)
    events = client.events(f"/v1/sessions/{session.id}/adapt", {})
    assert next(events) == ("queued", {"before": 0})
    assert gate.reached.acquire(timeout=20)
    events.close()  # type: ignore[attr-defined]
    gate.open.set()
    while session.details()["busy"]:
        pass
    assert session.details()["adaptations"] == 1
    assert json.loads(client.send("GET", f"/v1/sessions/{session.id}"))["report"]["steps"] == 5
