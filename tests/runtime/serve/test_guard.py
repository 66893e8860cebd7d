"""Nobody is let in who should not be: tokens, origins, hosts, sizes, rates; and nothing private gets out."""

import http.client
import json
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from regrow.client import Client
from regrow.serve.logs import JsonLines
from regrow.serve.rate import Rate


def ask(
    url: str, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One raw request; underscores in header names stand for dashes."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, data


def kind(data: bytes) -> str:
    return str(json.loads(data)["type"]).removeprefix("urn:regrow:problem:")


def test_a_foreign_page_can_change_nothing(service: Any) -> None:
    body = b'{"model": "tiny"}'
    for foreign in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "origin": service.url},
    ):
        status, _, data = ask(
            service.url, "POST", "/v1/sessions", body, content_type="application/json", **foreign
        )
        assert (status, kind(data)) == (403, "foreign-origin")
    status, headers, _ = ask(service.url, "OPTIONS", "/v1/sessions", origin="https://evil.example")
    assert status == 405
    assert not [name for name in headers if name.startswith("access-control")]
    own = {"origin": service.url, "sec_fetch_site": "same-origin", "content_type": "application/json"}
    assert ask(service.url, "POST", "/v1/sessions", body, **own)[0] == 201
    assert len(service.client().sessions()) == 1


def test_a_name_that_was_pointed_at_this_machine_is_refused(service: Any) -> None:
    status, _, data = ask(service.url, "GET", "/v1/sessions", host="evil.example")
    assert (status, kind(data)) == (421, "wrong-host")
    assert ask(service.url, "GET", "/v1/sessions", host="[::1]:99")[0] == 200
    assert ask(service.url, "GET", "/v1/sessions", host="[broken")[0] == 421


def test_every_answer_forbids_what_the_page_does_not_need(service: Any) -> None:
    for path in ("/", "/v1/models", "/nowhere"):
        _, headers, _ = ask(service.url, "GET", path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
    assert ask(service.url, "GET", "/docs")[0] == 404


def test_the_page_comes_from_a_table_not_from_a_path(service: Any) -> None:
    for path in (
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/%00",
        "/static/app.py",
    ):
        assert ask(service.url, "GET", path)[0] == 404
    status, headers, _ = ask(service.url, "GET", "/static/index.html")
    assert status == 200
    assert ask(service.url, "GET", "/static/index.html", if_none_match=headers["etag"])[0] == 304


def test_a_head_that_does_not_arrive_is_not_waited_for(start: Callable[..., Any]) -> None:
    service = start(limits={"header_seconds": 0.5})
    address = service.url.removeprefix("http://").split(":")
    head = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n"
    for whole, part in ((b"", b""), (b"", head[:9]), (head + b"\r\n", head)):
        with socket.create_connection((address[0], int(address[1])), timeout=10) as late:
            if whole:
                late.sendall(whole)
                assert b"200 OK" in late.recv(4096)
            late.sendall(part)
            began = time.monotonic()
            while late.recv(4096):
                pass
            assert 0.3 < time.monotonic() - began < 4, part
    assert ask(service.url, "GET", "/v1/health")[0] == 200


def test_a_body_too_large_is_refused_before_it_is_read(start: Callable[..., Any]) -> None:
    url = start(limits={"body_bytes": 1000}).url
    status, _, data = ask(url, "POST", "/v1/sessions", b"x" * 1001, content_type="application/json")
    problem = json.loads(data)
    assert (status, problem["limit"], problem["found"]) == (413, 1000, 1001)
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as raw:
        raw.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        raw.sendall(b"800\r\n" + b"x" * 0x800 + b"\r\n")
        assert b" 413 " in raw.recv(4096).split(b"\r\n")[0]


def test_a_body_that_does_not_arrive_is_not_waited_for(start: Callable[..., Any]) -> None:
    url = start(limits={"body_seconds": 0.2}).url
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as raw:
        began = time.monotonic()
        raw.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert b" 408 " in raw.recv(4096).split(b"\r\n")[0]
        assert time.monotonic() - began < 10


def test_answers_are_not_held_back_to_fill_packets(service: Any) -> None:
    assert service.prepared.listener.proto == socket.IPPROTO_TCP  # what asyncio looks at


def test_only_so_many_are_served_at_once(start: Callable[..., Any], give: Callable[..., None]) -> None:
    service = start(limits={"connections": 1, "body_seconds": 5.0})
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as raw:
        raw.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        until = time.monotonic() + 5
        while ask(service.url, "GET", "/v1/health")[0] == 200 and time.monotonic() < until:
            time.sleep(0.01)  # until the request above has arrived
        status, headers, data = ask(service.url, "GET", "/v1/health")
        assert (status, kind(data), headers["retry-after"]) == (503, "overloaded", "1")


def test_too_many_requests_wait(start: Callable[..., Any]) -> None:
    url = start(limits={"requests_per_second": 0.5, "burst": 3}).url
    answers = [ask(url, "GET", "/v1/health") for _ in range(5)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 429, 429]
    assert int(answers[-1][1]["retry-after"]) >= 1
    assert kind(answers[-1][2]) == "rate"


def test_a_bucket_fills_again_and_forgets_the_oldest_client(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    rate = Rate(2.0, 1, lambda: now[0])
    assert rate.wait("a") == 0.0
    assert rate.wait("a") == pytest.approx(0.5)
    now[0] = 0.5
    assert rate.wait("a") == 0.0
    monkeypatch.setattr("regrow.serve.rate.CLIENTS", 2)
    for name in "bcd":
        rate.wait(name)
    assert rate.wait("a") == 0.0  # forgotten, so its bucket is full again


def wait_for_line(caplog: pytest.LogCaptureFixture, event: str, count: int) -> None:
    """The line of a request is written once its answer is out."""
    until = time.monotonic() + 10
    while [r.message for r in caplog.records].count(event) < count and time.monotonic() < until:
        time.sleep(0.01)


def test_an_error_nobody_foresaw_leaves_no_trace(
    service: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("the secret sample is 0.1234")

    monkeypatch.setattr("regrow.serve.routes.sessions.sessions.listed", break_down)
    with caplog.at_level(logging.INFO, logger="regrow.serve"):
        status, _, data = ask(service.url, "GET", "/v1/sessions")
    assert (status, kind(data)) == (500, "bug")
    wait_for_line(caplog, "request", 1)
    lines = [JsonLines().format(record) for record in caplog.records if record.name == "regrow.serve"]
    assert [json.loads(line)["event"] for line in lines] == ["bug", "request"]
    assert json.loads(lines[0])["error"] == "ZeroDivisionError"
    for text in (data.decode(), *lines):
        assert "secret" not in text
        assert "Traceback" not in text


def test_logs_and_metrics_name_no_session_and_no_sample(
    service: Any, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="regrow.serve"):
        session = client.open("tiny", name="private name")
        session.add("private label", [0.7182818, 0.2, 0.3, 0.4, 0.5, 0.6])
        session.predict([0.7182818, 0.2, 0.3, 0.4, 0.5, 0.6])
        wait_for_line(caplog, "request", 3)
    lines = [JsonLines().format(record) for record in caplog.records]
    assert any('"route": "/v1/sessions/{id}/predict"' in line for line in lines)
    page = client.send("GET", "/metrics").decode()
    for text in (*lines, page):
        for secret in (session.id, "private", "0.7182818"):
            assert secret not in text
    assert 'regrow_requests_total{method="POST",route="/v1/sessions/{id}/predict",status="200"} 1' in page
    assert "regrow_predictions_total 1" in page
    assert 'regrow_rows{table="samples"} 1' in page
    for line in page.splitlines():
        assert line.startswith("# ") or len(line.rsplit(" ", 1)) == 2
