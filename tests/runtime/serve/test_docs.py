"""What docs/service.md shows and says is so."""

import configparser
import json
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from regrow.client import Client
from regrow.serve.limits import Limits
from regrow.serve.run import Settings, prepare
from regrow.serve.store import BALLAST_BYTES

PAGE = Path(__file__).parents[3] / "docs" / "service.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not installed")


def test_the_example_runs(service: Any, tiny: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
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


Run = Callable[..., tuple[int, str, str]]


def blocks(kind: str) -> list[str]:
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    return [text for name, text in fences if name == kind]


def commands() -> list[list[str]]:
    """Every command of the page, without comments; installing is another test's business."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.read_string(blocks("ini")[0])
    lines = [line.partition("#")[0].strip() for text in blocks("") for line in text.splitlines()]
    lines += [unit["Service"]["ExecStart"].removeprefix("/usr/local/bin/")]
    lines += re.findall(r"`sudo -u regrow (regrow [^`]*)`", PAGE.read_text(encoding="utf-8"))
    return [line.split()[1:] for line in lines if line.startswith("regrow ")]


def test_every_command_runs(
    run: Callable[..., tuple[int, str, str]],
    tiny: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served: list[Settings] = []
    monkeypatch.setattr("regrow.serve.run.serve", lambda settings: served.append(settings) or 0)
    bundles = {name: tmp_path / f"{name}.regrow" for name in ("model", "a", "b")}
    for path in bundles.values():
        tiny.write(path)
    known = {"DIR": tmp_path / "data", "FILE": tmp_path / "copy.db", "/var/lib/regrow": tmp_path / "state"}
    known |= {path.name: path for path in bundles.values()} | {"/srv/regrow/model.regrow": bundles["model"]}
    assert len(commands()) == 8
    for words in sorted(commands(), key=lambda words: "--name" in words):  # its token is made after it
        if "--erase-owner" in words:  # the line before revoked the only thing there was to erase
            assert run("serve", "--new-token", "kitchen", "--data", known["DIR"])[0] == 0
        code, _, err = run(*(str(known.get(word, word)) for word in words))
        assert code == 0, (words, err)
    assert len(served) == 3
    for settings in served:
        prepared = prepare(replace(settings, port=0, data=tmp_path / "state"))
        prepared.listener.close()
        prepared.core.close()
    assert known["FILE"].stat().st_size > 0


def test_the_figures_are_those_that_were_measured() -> None:
    service_table = pytest.importorskip("benchmarks.service_table", reason="the benchmarks are not installed")
    text = PAGE.read_text(encoding="utf-8")
    record = json.loads(service_table.RECORD.read_text(encoding="utf-8"))
    assert text == service_table.page(text, record), "run python -m benchmarks.service_load --table"


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
    assert len(fields(Limits)) == 18  # a new one belongs into the page, or is not for its readers
