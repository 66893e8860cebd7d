"""The native core takes no more instructions than recorded: the same on a busy machine, unlike a time."""

import json
from typing import Any

import pytest

from benchmarks import instructions as bench

if not bench.RECORD.exists():
    pytest.skip("no checkout: the record is not here", allow_module_level=True)

RECORD: dict[str, Any] = json.loads(bench.RECORD.read_text(encoding="utf-8"))


def record(**counts: int) -> dict[str, Any]:
    return {"format": bench.FORMAT, "instructions": counts}


def test_the_record_is_of_the_committed_cases() -> None:
    assert RECORD["format"] == bench.FORMAT
    assert {p.stem for p in bench.CASES.iterdir()} == set(bench.SUPPORT)
    wanted = {f"{name}, {what}" for name in bench.SUPPORT for what in ("adapt", "predict")}
    assert set(RECORD["instructions"]) == wanted
    assert RECORD["compiler"]
    assert RECORD["width"] in ("baseline", "avx2")
    counts = RECORD["instructions"]
    assert counts["conv4-16-pruned, adapt"] < 0.5 * counts["conv4-16-dense, adapt"]


def test_a_change_beyond_the_limit_or_a_case_on_one_side_is_said() -> None:
    old = record(a=1000, b=1000)
    assert bench.changes(old, record(a=1020, b=980)) == []
    assert bench.changes(old, record(a=1021, b=1000)) == ["a: 1000 -> 1021, +2.1%"]
    assert bench.changes(old, record(a=1000, b=500)) == ["b: 1000 -> 500, -50.0%"]
    assert bench.changes(old, record(a=1000, c=1)) == ["b: in one record only", "c: in one record only"]


def test_callgrinds_files_are_read() -> None:
    dumped = "version: 1\ndesc: Trigger: Client Request: mlp, adapt\n\nfn=(1) f\n1 5\n\ntotals: 1734036\n"
    assert bench.parse(dumped) == ("mlp, adapt", 1734036)
    assert bench.parse("version: 1\ndesc: Trigger: Program termination\n\nsummary: 7\n") is None


def test_counts_are_as_recorded() -> None:
    if reason := bench.lacking():
        pytest.skip(f"cannot count here: {reason}")
    if bench.compiler() != RECORD["compiler"]:
        pytest.skip(f"recorded with {RECORD['compiler']}, here is {bench.compiler()}: counts would differ")
    found = bench.measure()
    if found["width"] != RECORD["width"]:
        pytest.skip(f"recorded with {RECORD['width']} kernels, here are {found['width']}")
    changed = bench.changes(RECORD, found)
    # Fewer are as much a change: the record would no longer catch what is lost again.
    assert changed == [], "python -m benchmarks.instructions benchmarks/results/instructions.json, if meant"
