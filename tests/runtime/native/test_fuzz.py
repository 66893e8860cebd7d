"""libFuzzer on the core, for half a minute; `make fuzz` looks for longer."""

from pathlib import Path

import pytest

from tests.runtime.native import fuzz

SECONDS = 30


@pytest.mark.slow
def test_no_plan_reaches_outside_its_blocks(tmp_path: Path) -> None:
    if missing := fuzz.lacking():
        pytest.skip(f"needs {missing}")
    fuzzer, corpus = fuzz.build(tmp_path), tmp_path / "corpus"
    assert fuzz.record(corpus) > 1000
    done = fuzz.search(fuzzer, corpus, SECONDS)
    finds = [p.name for p in tmp_path.iterdir() if p.name.startswith(("crash-", "leak-", "oom-"))]
    assert not finds, done.stderr[-4000:]
    assert done.returncode == 0, done.stderr[-4000:]
    assert "cov:" in done.stderr
