"""Schemathesis over the whole OpenAPI: examples, limits, random requests, and ones that follow on answers."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")
pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install 'regrow[dev]'")

from tests.runtime.serve.process import Process

# Our own types of body are bytes to it, so what it calls valid is refused rightly now and then.
CHECKS = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]


@pytest.fixture
def taught(bundle: Path, tiny: ModuleType, tmp_path: Path) -> Iterator[Process]:
    """A service with a session that has learned; it may be asked for as many more as one likes."""
    limits = {"sessions": 10**6, "deltas": 10**6, "samples": 10**6}
    service = Process(bundle, tmp_path / "data", tmp_path / "log", **limits)
    try:
        session = service.client.open("tiny")
        rows = np.float32(tiny.support(ways=2)[0]).tolist()
        session.add("a", rows[:4])
        session.add("b", rows[4:])
        session.adapt()
        yield service
    finally:
        service.stop()


def check(service: Process, folder: Path, *options: str) -> int:
    """Run it on every operation; returns how many requests it made."""
    address = f"{service.url}/v1/openapi.json"
    command = [sys.executable, "-m", "schemathesis.cli", "run", address, *CHECKS, *options, "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    count = len(service.client.json("GET", "/v1/openapi.json")["paths"])
    assert count > 15
    assert re.search(r"Selected: (\d+)/\1", done.stdout), done.stdout[-3000:]  # nothing was left out
    assert '"event": "bug"' not in service.log.read_text()
    return service.log.read_text().count('"event": "request"')


def test_schemathesis_finds_nothing_at_first_sight(taught: Process, tmp_path: Path) -> None:
    assert check(taught, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "2") > 50


@pytest.mark.slow
def test_schemathesis_finds_nothing(taught: Process, tmp_path: Path) -> None:
    phases = "examples,coverage,fuzzing,stateful"
    assert check(taught, tmp_path, "--phases", phases, "--max-examples", "150") > 2000
