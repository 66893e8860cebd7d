"""The whole path over HTTP, held to what the same steps do in a session of this process."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

import regrow
from regrow.client import Client, ServiceError, Step

NAMES = "abcde"


def local(bundle: Path, tiny: ModuleType, shots: int = 4) -> regrow.Session:
    x, y = tiny.support(shots=shots)
    session = regrow.open(bundle).session()
    session.adapt(x, [NAMES[label] for label in y])
    return session


def npy(x: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, x)
    return stream.getvalue()


def test_what_is_taught_over_http_is_what_is_taught_here(
    client: Client, bundle: Path, tiny: ModuleType, give: Callable[..., None], query: Any
) -> None:
    session, steps = client.open("tiny"), list[Step]()
    give(session)
    report = session.adapt(on_step=steps.append)
    mine = local(bundle, tiny)
    assert client.download(session.save("first").id) == mine.dump()
    assert [s.number for s in steps] == [1, 2, 3, 4, 5]
    assert [*report.losses[1:], report.loss] == [s.loss for s in steps]
    expected = mine.predict(query)
    np.testing.assert_array_equal(
        np.load(io.BytesIO(session.predict_npy(npy(query)))), expected.probabilities
    )
    answers = session.predict(query.tolist())
    assert answers.labels == tuple(expected.labels.tolist())  # type: ignore[union-attr]
    np.testing.assert_allclose(answers.probabilities, expected.probabilities, rtol=1e-6)
    assert answers.classes == tuple(NAMES)


def test_the_report_says_what_changed_and_how_well_it_works(
    client: Client, give: Callable[..., None]
) -> None:
    session = client.open("tiny")
    give(session, shots=6, held_back=2)
    report = session.adapt()
    check = report.facts["check"]
    assert (check["samples"], report.samples) == (10, 20)
    assert report.facts["memory"] == ("exact" if report.facts["engine"] == "native" else "estimated")
    assert check["right"] > check["right_before"]
    assert report.accuracy == check["right"] / 10
    (layer,) = report.facts["layers"]
    assert (layer["layer"], layer["values"]) == ("head", 35)
    assert 0 < layer["moved"] <= 35
    assert layer["change"] > 0
    assert session.details()["report"] == report.facts


def test_before_is_the_bundle_under_the_same_classes(
    client: Client, give: Callable[..., None], query: Any
) -> None:
    session = client.open("tiny")
    give(session)
    session.adapt()
    before, now = session.predict(query.tolist(), at="before"), session.predict(query.tolist())
    assert before.classes == now.classes
    assert before.probabilities != now.probabilities
    session.reset()
    fresh = session.predict(query.tolist())
    np.testing.assert_allclose(fresh.probabilities, before.probabilities)
    assert fresh.classes == tuple(f"output {i}" for i in range(5))


def test_undo_and_reset_step_back_exactly(client: Client, give: Callable[..., None], query: Any) -> None:
    session = client.open("tiny")
    give(session)
    session.adapt()
    once = session.predict_npy(npy(query))
    session.adapt()
    assert session.details()["undo"] == 2
    assert session.predict_npy(npy(query)) != once
    session.undo()
    assert session.predict_npy(npy(query)) == once
    session.adapt(start="bundle")
    assert session.predict_npy(npy(query)) == once
    session.reset()
    assert len(session.details()["samples"]) == 20
    with pytest.raises(ServiceError, match="nothing left to undo") as refused:
        session.undo()
    assert (refused.value.status, refused.value.kind) == (409, "conflict")


def test_a_class_is_renamed_in_samples_in_what_was_learned_and_below_undo(
    service: Any, give: Callable[..., None], query: Any
) -> None:
    session = service.client().open("tiny")
    give(session, held_back=1)
    session.adapt()
    session.adapt()
    before, answers = session.predict(query.tolist()), session.predict_npy(npy(query))
    for name, kind, status in (("b", "conflict", 409), ("a\tb", "invalid", 422)):
        with pytest.raises(ServiceError) as refused:
            session.rename_class("a", name)
        assert (refused.value.kind, refused.value.status) == (kind, status)
    with pytest.raises(ServiceError, match="class 'nobody': not found"):
        session.rename_class("nobody", "z")
    session.rename_class("a", "a/cup & saucer")
    assert session.predict_npy(npy(query)) == answers
    after = session.predict(query.tolist())
    assert after.classes == ("a/cup & saucer", *"bcde")
    assert after.labels == tuple("a/cup & saucer" if label == "a" else label for label in before.labels)
    details = session.details()
    assert {s["label"] for s in details["samples"]} == {"a/cup & saucer", *"bcde"}
    assert details["report"]["classes"] == details["classes"]
    report = session.adapt()  # builds on the renamed class
    assert report.facts["check"]["samples"] == 5
    session.undo()
    session.undo()
    assert session.predict(query.tolist()).classes == ("a/cup & saucer", *"bcde")
    session.rename("kitchen door")
    session.hold_back(details["samples"][0]["id"])
    again = session.details()
    assert (again["name"], again["samples"][0]["held_back"]) == ("kitchen door", True)


def test_undo_reaches_as_far_as_it_says(start: Callable[..., Any], give: Callable[..., None]) -> None:
    session = start(limits={"undo": 3}).client().open("tiny")
    give(session)
    for _ in range(5):
        session.adapt(steps=1)
    assert session.details()["undo"] == 3
    for _ in range(3):
        session.undo()
    assert session.details()["adaptations"] == 2
    with pytest.raises(ServiceError, match="the last 3 are kept"):
        session.undo()


def test_a_calibration_is_saved_loaded_and_carried_elsewhere(
    client: Client, bundle: Path, give: Callable[..., None], query: Any, tmp_path: Path
) -> None:
    session = client.open("tiny")
    with pytest.raises(ServiceError, match="nothing was learned yet"):
        session.save("too early")
    give(session)
    session.adapt()
    saved = session.save("kitchen door")
    (tmp_path / "d.delta").write_bytes(client.download(saved.id))
    expected = session.predict_npy(npy(query))
    device = regrow.open(bundle).session(tmp_path / "d.delta")
    np.testing.assert_array_equal(np.load(io.BytesIO(expected)), device.predict(query).probabilities)
    uploaded = client.upload("tiny", "from elsewhere", (tmp_path / "d.delta").read_bytes())
    assert [d.name for d in client.deltas()] == ["kitchen door", "from elsewhere"]
    other = client.open("tiny", delta=uploaded.id)
    assert other.predict_npy(npy(query)) == expected
    third = client.open("tiny")
    third.load(saved.id)
    assert third.predict_npy(npy(query)) == expected
    assert third.details()["report"] is None
    third.undo()
    assert third.predict_npy(npy(query)) != expected
    client.erase_delta(saved.id)
    with pytest.raises(ServiceError) as gone:
        client.download(saved.id)
    assert gone.value.status == 404


def test_sessions_do_not_see_each_other(client: Client, give: Callable[..., None], query: Any) -> None:
    one, two = client.open("tiny"), client.open("tiny")
    give(one)
    fresh = two.predict_npy(npy(query))
    one.adapt()
    assert two.predict_npy(npy(query)) == fresh
    two.add("x", query[:1].tolist())
    assert {s["label"] for s in one.details()["samples"]} == set(NAMES)
    one.erase()
    assert [s["id"] for s in client.sessions()] == [two.id]


def test_several_bundles_are_served_at_once(
    start: Callable[..., Any], tiny: ModuleType, bundle: Path, tmp_path: Path
) -> None:
    tiny.write(tmp_path / "other.regrow", seed=5, labels=("one", "two", "three"))
    client = start(bundles=[bundle, tmp_path / "other.regrow"]).client()
    first, second = client.models()
    assert first["digest"] != second["digest"]
    with pytest.raises(ServiceError, match="one of several so named"):
        client.open("tiny")
    with pytest.raises(ServiceError, match="is no class of this model, expected one of one, two, three"):
        client.open(second["digest"]).add("four", [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    assert client.open(first["digest"]).details()["model"] == first["digest"]


def test_everything_is_there_after_a_restart(
    start: Callable[..., Any], give: Callable[..., None], query: Any
) -> None:
    first = start()
    session = first.client().open("tiny", name="door")
    give(session)
    session.adapt()
    before, details = session.predict_npy(npy(query)), session.details()
    first.stop()
    again = start().client().session(session.id)
    assert again.predict_npy(npy(query)) == before
    assert again.details() == details
    again.undo()
    assert again.details()["adaptations"] == 0


def test_samples_come_back_as_they_were_given(client: Client) -> None:
    session = client.open("tiny")
    (number,) = session.add("a", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    path = f"/v1/sessions/{session.id}/samples/{number}"
    shown = json.loads(client.send("GET", path))["x"]
    np.testing.assert_array_equal(np.float32(shown), np.float32([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    np.testing.assert_array_equal(
        np.load(io.BytesIO(client.send("GET", path, accept="application/x-npy"))), np.float32(shown)
    )
    client.json("PATCH", path, {"held_back": True})
    assert session.details()["samples"][0]["held_back"] is True
    client.json("PATCH", f"/v1/sessions/{session.id}", {"name": "  new name "})
    assert session.details()["name"] == "new name"


def test_waiting_without_events_gives_the_report_or_the_problem(
    client: Client, give: Callable[..., None]
) -> None:
    session = client.open("tiny")
    with pytest.raises(ServiceError) as refused:
        client.json("POST", f"/v1/sessions/{session.id}/adapt", {})
    assert refused.value.kind == "one-class"
    give(session)
    assert client.json("POST", f"/v1/sessions/{session.id}/adapt")["steps"] == 5


def test_numbers_are_taught_like_classes(start: Callable[..., Any], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from regrow_exporter import export

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    path, x = tmp_path / "numbers.regrow", torch.rand(4, 2)
    export(model, x, adaptable=["*"], loss="mse", lr=0.1, steps=50, path=path)
    client = start(bundles=[path]).client()
    session = client.open("numbers")
    for row in np.random.default_rng(0).uniform(size=(12, 2)).tolist():
        session.add(str(2 * row[0] - row[1]), [row])
    with pytest.raises(ServiceError, match="expected 1 numbers with commas between"):
        session.add("two", [[0.5, 0.25]])
    report = session.adapt(steps=400)
    assert report.loss < 0.01 < report.losses[0]
    (answer,) = session.predict([[0.5, 0.25]]).values
    assert answer[0] == pytest.approx(0.75, abs=0.15)
