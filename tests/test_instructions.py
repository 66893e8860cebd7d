"""The native core takes no more instructions than recorded: the same on a busy machine, unlike a time."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import instructions as bench
from regrow.cli import main

if not bench.RECORD.exists():
    pytest.skip("no checkout: the record is not here", allow_module_level=True)

RECORD: dict[str, Any] = json.loads(bench.RECORD.read_text(encoding="utf-8"))


def test_the_record_is_of_the_committed_cases() -> None:
    assert RECORD["format"] == bench.FORMAT
    assert {p.stem for p in bench.CASES.iterdir()} == set(bench.SUPPORT)
    wanted = {f"{name}, {what}" for name in bench.SUPPORT for what in ("adapt", "predict")}
    assert set(RECORD["instructions"]) == wanted
    assert RECORD["compiler"]
    assert RECORD["width"] in ("baseline", "avx2")
    counts = RECORD["instructions"]
    assert counts["conv4-16-pruned, adapt"] < 0.5 * counts["conv4-16-dense, adapt"]


def compared(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> int:
    """What `regrow bench compare` makes of two records: its exit code."""
    paths = [folder / "old.json", folder / "new.json"]
    for path, made in zip(paths, (old, new), strict=True):
        path.write_text(json.dumps(made), encoding="utf-8")
    return main(["bench", "compare", *map(str, paths)])


def test_a_few_instructions_more_fail_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = RECORD["instructions"]
    assert compared(tmp_path, RECORD, RECORD) == 0
    slower = RECORD | {
        "instructions": counts | {"conv4-16-dense, adapt": 1.021 * counts["conv4-16-dense, adapt"]}
    }
    assert compared(tmp_path, RECORD, slower) == 1
    assert f"1 of {len(counts)} figures became worse" in capsys.readouterr().out


def test_callgrinds_files_are_read() -> None:
    dumped = "version: 1\ndesc: Trigger: Client Request: mlp, adapt\n\nfn=(1) f\n1 5\n\ntotals: 1734036\n"
    assert bench.parse(dumped) == ("mlp, adapt", 1734036)
    assert bench.parse("version: 1\ndesc: Trigger: Program termination\n\nsummary: 7\n") is None


def test_counts_are_as_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if reason := bench.lacking():
        pytest.skip(f"cannot count here: {reason}")
    if bench.compiler() != RECORD["compiler"]:
        pytest.skip(f"recorded with {RECORD['compiler']}, here is {bench.compiler()}: counts would differ")
    found = bench.measure()
    if found["width"] != RECORD["width"]:
        pytest.skip(f"recorded with {RECORD['width']} kernels, here are {found['width']}")
    assert set(found["instructions"]) == set(RECORD["instructions"])
    worse = compared(tmp_path, RECORD, found)
    # Fewer are as much a change: the record would no longer catch what is lost again.
    better = compared(tmp_path, found, RECORD)
    remedy = "python -m benchmarks.instructions benchmarks/results/instructions.json, if meant"
    assert (worse, better) == (0, 0), f"{capsys.readouterr().out}\n{remedy}"
