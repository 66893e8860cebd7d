"""Adaptations take turns: bounded, fair, one per session, finished or rolled back."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from regrow.client import RemoteSession, ServiceError
from regrow.serve.metrics import Metrics
from regrow.serve.problems import ProblemError
from regrow.serve.worker import Worker
from tests.runtime.serve.test_refusals import refused


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
