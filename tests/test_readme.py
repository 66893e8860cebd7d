"""Every example of the README runs, and its table is the record's, not somebody's memory."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from regrow.demo.page import sparsity

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def tiny() -> ModuleType:
    """The hand-written bundle of the runtime's tests."""
    spec = importlib.util.spec_from_file_location("tiny", ROOT / "tests" / "runtime" / "tiny.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files the examples open."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    made = tiny()
    made.write(tmp_path / "keypad.regrow")
    for name, shots in (("support", 4), ("query", 8)):
        x, y = made.support(shots=shots)
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    return tmp_path


def blocks(*kinds: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind in kinds]


def test_every_block_says_what_it_is() -> None:
    assert {kind for kind, _ in BLOCKS} == {"python", "sh"}


@pytest.mark.parametrize("code", blocks("python"))
def test_python_example(code: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"(\d+)% right before, (\d+)% after", done.stdout)
    assert found, done.stdout
    before, after = map(int, found.groups())
    assert after > before + 30
    assert (folder / "ana.delta").stat().st_size > 0


@pytest.mark.parametrize("line", [line for text in blocks("sh") for line in text.splitlines()])
def test_shell_example(line: str, folder: Path) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        # -n: the targets exist and their recipes expand; the demo's own test runs it.
        done = subprocess.run(
            ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
    elif words[:2] == ["pip", "install"]:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = re.fullmatch(r"\.\[([\w,]+)\]", words[2])
        assert extras, line
        assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    else:
        assert words[0] == "regrow", f"no way to test {line!r}"
        done = subprocess.run(
            [sys.executable, "-c", "from regrow.cli import main; raise SystemExit(main())", *words[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_first_screen_is_short() -> None:
    assert len(README.splitlines()) <= 100


def _versions(kind: str) -> set[str]:
    """The versions that the project's own metadata name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(re.findall(r"\d+(?:\.\d+)+", str(project[kind])))


def untraced(text: str) -> list[str]:
    """Numbers that somebody typed: not of a generated table, a program, nor one of the sources below."""
    text = re.sub(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", "", text, flags=re.DOTALL)
    text = re.sub(r"^```python\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)", "]", text)  # where links lead
    record = json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text(encoding="utf-8"))
    pruned = f"{sparsity(record['results']):.0%}".rstrip("%")
    known = {f"{pruned} %", *_versions("requires-python")}
    found = re.findall(r"(?<![\w.])\d[\d.,]*\d?(?: ?%|x\b)?", text)
    words = re.findall(r"\b(?:twice|thrice|half|\w+ times|tenfold|faster|smaller|fastest|smallest)\b", text)
    # "how many times as long the others take" introduces the table and claims nothing.
    return [n for n in found if n not in known] + [w for w in words if w not in ("many times",)]


def test_no_figure_of_the_readme_was_typed() -> None:
    assert untraced(README) == []
    assert untraced(README + "\nIt takes 3 ms, is 4x as quick and three times as small.") == [
        "3",
        "4x",
        "three times",
    ]


def test_the_table_is_what_the_record_says() -> None:
    command = [sys.executable, "-m", "benchmarks.readme", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
