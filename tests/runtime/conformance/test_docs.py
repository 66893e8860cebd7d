"""The checker in the specification runs as it stands there, and is neither blind nor too strict."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from regrow.conformance import arrays, judge, pack, run

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")


def check(folder: Path, where: Path) -> subprocess.CompletedProcess[str]:
    (script,) = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    # -I: from a folder of its own, where nothing of ours is on the path by accident.
    line = [sys.executable, "-I", "-W", "error", "-c", script, str(folder)]
    return subprocess.run(line, cwd=where, capture_output=True, text=True, check=False)


def test_the_script_of_the_specification_agrees(folder: Path, tmp_path: Path) -> None:
    done = check(folder, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["linear passed", "metric passed"]
    path = folder / "linear" / pack.EXPECTED
    expected = arrays.parse(path.read_bytes(), "expected")
    moved = expected["new:head.weight"] - expected["start:head.weight"]
    changed = expected | {"new:head.weight": expected["start:head.weight"] + 1.001 * moved}
    path.write_bytes(arrays.pack(changed))
    done = check(folder, tmp_path)
    assert done.returncode == 1
    found = re.fullmatch(
        r"linear FAILED new:head\.weight: (\S+), at most 1\.0e-05", done.stdout.splitlines()[0]
    )
    assert found, done.stdout
    right = arrays.parse((folder / "linear" / pack.EXPECTED).read_bytes(), "expected")
    want = judge.errors(right, right | {"new:head.weight": expected["new:head.weight"]})["new:head.weight"]
    assert float(found[1]) == pytest.approx(want, rel=0.06)


def test_the_script_names_nothing_of_ours() -> None:
    (script,) = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"^(?:import|from) (.+)$", script, flags=re.MULTILINE)) == {
        "json, sys",
        "pathlib import Path",
        "numpy as np",
        "onnxruntime as ort",
    }


def test_the_page_says_what_the_code_does(folder: Path) -> None:
    for name in (pack.INDEX, pack.ABOUT, *pack.FILES):
        assert f"`{name}`" in PAGE or f"`NAME/{name}`" in PAGE
    about = json.loads((folder / "linear" / pack.ABOUT).read_text(encoding="utf-8"))
    for key in about:
        assert f"`{key}`" in PAGE
    for dtype in arrays.DTYPES:
        assert f"`{dtype}`" in PAGE
    assert f"# Conformance pack, version {pack.FORMAT_VERSION}\n" in PAGE
    assert f"at most {pack.MAX_BYTES // 2**20} MiB" in PAGE
    assert f"+ {judge.SHARE} * " in PAGE
    assert f"held to {run.EXACT:.0e}".replace("e-09", "e-9") in PAGE
