"""`regrow serve` on the command line: what it says, what it refuses, how it stops."""

import logging
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from regrow.client import Client, ServiceError
from regrow.errors import RegrowError


@pytest.fixture(autouse=True)
def no_handlers_left() -> Iterator[None]:
    """`serve` sends its log to stderr, which is no business of other tests."""
    yield
    logging.getLogger("regrow.serve").handlers = []


Run = Callable[..., tuple[int, str, str]]
CODE = "from regrow.cli import main; raise SystemExit(main())"


def test_it_serves_until_it_is_told_to_stop(bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, "serve", str(bundle), "--data", str(tmp_path / "d"), "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    found = re.fullmatch(r"Serving tiny on (http://127\.0\.0\.1:\d+)/\n", child.stdout.readline())
    assert found is not None
    client = Client(found[1])
    session = client.open("tiny")
    token = subprocess.run(
        [sys.executable, "-c", CODE, "serve", "--data", str(tmp_path / "d"), "--new-token", "ana"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert token.stdout.startswith("regrow_")
    assert "only time" in token.stderr
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=30)
    assert child.returncode in (0, -signal.SIGTERM)
    assert "Traceback" not in out + err
    assert session.id not in err
    with pytest.raises(RegrowError, match="no answer"):
        client.models()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no bundle given"),
        (["BUNDLE", "--cert", "a"], "one of --cert and --key"),
        (["BUNDLE", "--cert", "BUNDLE", "--key", "BUNDLE"], "cannot be used for TLS"),
        (["BUNDLE", "--cert", "nowhere.pem", "--key", "nowhere.pem"], "No such file"),
        (["BUNDLE", "--rate", "door=8000"], "rate of door: no such model, expected one of tiny"),
        (["BUNDLE", "--rate", "fast"], "expected HZ or MODEL=HZ"),
        (["BUNDLE", "--name", "lab.example"], "name lab.example: others can reach it, expected a token"),
        (["BUNDLE", "--queue", "0"], "--queue is 0"),
        (["BUNDLE", "--host", "0.0.0.0"], "others can reach it, expected a token"),
        (["BUNDLE", "--host", "192.0.2.1", "--new-token", ""], "empty"),
        (["BUNDLE", "--port", "99999"], "cannot be listened on"),
        (["nowhere.regrow"], "nowhere.regrow"),
        (["--revoke-token", "nobody"], "not found"),
    ],
)
def test_what_cannot_be_served_is_said(
    run: Run, bundle: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    given = [str(bundle) if word == "BUNDLE" else word for word in words]
    code, out, err = run("serve", *given, "--data", tmp_path / "data")
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
    # Whatever was opened was let go of again.
    assert run("serve", "--data", tmp_path / "data", "--new-token", "next")[0] == 0


def test_it_speaks_tls_to_those_who_know_its_certificate(
    start: Callable[..., Any], tmp_path: Path, query: Any
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine to make a certificate with")
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    how = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=regrow", "-addext"]
    made = ["openssl", "req", "-x509", *how, "subjectAltName=IP:127.0.0.1", "-out", cert, "-keyout", key]
    subprocess.run(made, check=True, capture_output=True)
    service = start(certificate=cert, key=key)
    assert service.url.startswith("https://")
    session = Client(service.url, ca=cert).open("tiny")
    assert session.predict(query.tolist()).labels
    with pytest.raises(RegrowError, match=r"no answer .*certificate"):
        service.client().models()


def test_the_client_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="no address of a service"):
        Client("file:///etc/passwd")
    with pytest.raises(RegrowError, match="no answer"):
        Client("http://127.0.0.1:9", timeout=5).models()
    error = ServiceError({"type": "urn:regrow:problem:busy", "status": 409, "detail": "words"})
    assert (error.kind, error.status, str(error)) == ("busy", 409, "words")


def test_help_names_the_defaults(run: Run) -> None:
    code, out, _ = run("serve", "--help")
    text = " ".join(out.split())
    assert code == 0
    for part in (
        "only this machine",
        "(default: 8377)",
        "adaptations that may wait (default: 8)",
        "--new-token",
    ):
        assert part in text
