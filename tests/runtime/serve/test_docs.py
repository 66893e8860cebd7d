"""What docs/service.md shows and says is so."""

import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from regrow.client import Client
from regrow.serve.limits import Limits
from regrow.serve.store import BALLAST_BYTES

PAGE = Path(__file__).parents[3] / "docs" / "service.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not installed")


def test_the_example_runs(service: Any, tiny: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    x, y = tiny.support(ways=2)
    known = {
        "samples_of_open": x[y == 0].tolist(),
        "samples_of_closed": x[y == 1].tolist(),
        "queries": x.tolist(),
    }
    code = code.replace("http://127.0.0.1:8377", service.url).replace('open("model"', 'open("tiny"')
    exec(compile(code, str(PAGE), "exec"), known)
    assert known["report"].steps == 5
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert [d.name for d in service.client().deltas()] == ["kitchen door, May"]


def test_every_address_is_listed(client: Client) -> None:
    listed = " ".join(re.findall(r"`([^`]*)`", PAGE.read_text(encoding="utf-8")))
    for path in client.json("GET", "/v1/openapi.json")["paths"]:
        last = "/" + path.rstrip("/}").rpartition("/")[2].lstrip("{")
        assert path in listed or last in listed, path


def test_the_limits_are_those_of_the_code() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    limits = Limits()
    for claim in (
        f"`--body` {limits.body_bytes >> 20} MiB per request",
        f"`--samples` {limits.samples} per session",
        f"`--sessions` {limits.sessions} per token",
        f"`--steps` {limits.steps}",
        f"`--queue` {limits.queue}",
        f"{limits.batch} samples per request",
        f"{limits.pixels // 10**6} million pixels",
        f"{limits.deltas} saved calibrations of {limits.delta_bytes >> 20} MiB",
        f"{limits.requests_per_second:g} requests per second",
        f"{limits.undo} steps of undo",
        f"`--retain-days` ({limits.retain_days:g})",
        f"ballast of {BALLAST_BYTES >> 20} MiB",
    ):
        assert claim in text, claim
    assert len(fields(Limits)) == 17  # a new one belongs into the page, or is not for its readers
