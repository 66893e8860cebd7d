"""Every limit and every mistake has a problem of its own, in words, and changes nothing."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from regrow.client import Client, ServiceError
from regrow.serve.problems import KINDS

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
    error = refused("invalid", lambda: client.open("nonsense"))
    assert (error.status, error.problem["errors"][0]["where"]) == (422, "body.model")
    error = refused("invalid", lambda: client.upload("nonsense", "x", b"x"))
    assert (error.status, error.problem["errors"][0]["where"]) == (422, "query.model")
    refused("not-found", lambda: client.json("GET", "/v1/models/nonsense"))
    refused("bad-delta", lambda: client.open("tiny", delta="nonsense"))
    refused("bad-delta", lambda: client.open("tiny").load("nonsense"))
    refused("not-found", lambda: client.session("../../etc/passwd").details())
    refused("not-found", lambda: client.session("'; DROP TABLE sessions").details())
    session = client.open("tiny")
    refused("not-found", lambda: session.erase_samples(sample=7))
    refused("invalid", lambda: session.erase_samples(sample=2**60))
    refused("not-found", lambda: client.json("GET", "/v1/nowhere"))
    refused("method-not-allowed", lambda: client.json("PUT", "/v1/sessions"))
