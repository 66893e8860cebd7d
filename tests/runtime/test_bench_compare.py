"""Two results side by side: what counts as worse, and what the command says of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from regrow.bench.compare import compare
from regrow.cli import main


def timed(median: float, low: float, high: float) -> dict[str, Any]:
    return {"subjects": {"native": {"adapt_ms": {"median": median, "low": low, "high": high}}}}


def test_slower_counts_where_the_intervals_are_apart() -> None:
    (change,) = compare(timed(1.0, 0.9, 1.1), timed(1.5, 1.4, 1.6))
    assert change.worse
    assert change.ratio == 1.5
    (change,) = compare(timed(1.0, 0.9, 1.45), timed(1.5, 1.4, 1.6))
    assert not change.worse  # they overlap
    (change,) = compare(timed(1.0, 0.99, 1.01), timed(1.05, 1.04, 1.06))
    assert not change.worse  # apart, and too little to matter
    (change,) = compare(timed(1.5, 1.4, 1.6), timed(1.0, 0.9, 1.1))
    assert not change.worse


def test_instructions_may_hardly_rise() -> None:
    old = {"instructions": {"mlp, adapt": 1_000_000, "gone": 5}}
    assert compare(old, {"instructions": {"mlp, adapt": 1_030_000}})[0].worse
    assert not compare(old, {"instructions": {"mlp, adapt": 1_010_000}})[0].worse


def test_the_command_tells_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "old.json", tmp_path / "new.json"]
    for path, made in zip(paths, (timed(1.0, 0.9, 1.1), timed(1.5, 1.4, 1.6)), strict=True):
        path.write_text(json.dumps(made), encoding="utf-8")
    assert main(["bench", "compare", *map(str, paths)]) == 1
    said = capsys.readouterr().out
    assert "1 of 1 figures became worse" in said
    assert "native: adapt_ms" in said
    assert main(["bench", "compare", str(paths[0]), str(paths[0]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["worse"] == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("no json", "expected a JSON result"),
        ('{"a": 1}', "holds no result of regrow bench"),
        ('{"instructions": {"x": 1}}', "share no figure"),
    ],
)
def test_other_files_are_refused(
    content: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, good = tmp_path / "x.json", tmp_path / "good.json"
    path.write_text(content, encoding="utf-8")
    good.write_text(json.dumps(timed(1.0, 0.9, 1.1)), encoding="utf-8")
    assert main(["bench", "compare", str(good), str(path)]) == 2
    assert says in capsys.readouterr().err


def test_two_files_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "compare", "one.json"]) == 2
    assert "expected two" in capsys.readouterr().err
    assert main(["bench"]) == 2
    assert "expected one" in capsys.readouterr().err
