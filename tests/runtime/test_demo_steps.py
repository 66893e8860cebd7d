"""The demo's bookkeeping: done steps are reused, changes run again, interruptions resume, torch stays out."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from regrow import errors
from regrow.demo import steps
from regrow.demo.steps import Step

# A stand-in for the command line: `FILE` adds a line to a file, `fail` exits with 3, `say` prints.
CHILD = """
import sys
word = sys.argv[1]
if word == "say":
    print("{}")
elif word == "fail":
    sys.exit(3)
else:
    open(word, "a").write(" ".join(sys.argv[1:]) + "\\n")
"""


@pytest.fixture(autouse=True)
def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(steps, "PLAIN", CHILD)
    monkeypatch.chdir(tmp_path)


def step(path: str, resumes: str | None = None) -> Step:
    return Step(path, f"make {path}", (path,), (path,), resumes=resumes)


def run(todo: list[Step], ground: str = "g") -> str:
    out = io.StringIO()
    steps.run_all(todo, ground, Path("out"), out)
    return out.getvalue()


def test_a_second_run_reuses_everything_and_says_so() -> None:
    todo = [step("a"), step("b")]
    assert "reused" not in run(todo)
    text = run(todo)
    assert text.count("reused") == 2
    assert Path("a").read_text() == "a\n"
    assert "[2/2] make b\n$ regrow b\n" in text


def test_a_changed_ground_or_command_runs_the_rest_again() -> None:
    run([step("a"), step("b")])
    assert run([step("a"), step("c")]).count("reused") == 1
    assert "reused" not in run([step("a"), step("b")], ground="other")
    assert Path("a").read_text() == "a\n", "the old file was not removed before its step ran again"


def test_a_missing_file_runs_its_step_again() -> None:
    run([step("a"), step("b")])
    Path("b").unlink()
    assert run([step("a"), step("b")]).count("reused") == 1
    assert Path("b").exists()


def test_a_failed_step_names_itself_and_the_earlier_ones_are_kept() -> None:
    broken = Step("broken", "fail", ("fail",), ("never",))
    with pytest.raises(errors.RegrowError, match=r"step 'broken': exit code 3, expected 0.*reused"):
        run([step("a"), broken])
    assert run([step("a")]).count("reused") == 1


@pytest.mark.parametrize(
    ("resumes", "left"), [("a", "half\na --resume\n"), ("not there", "a\n"), (None, "a\n")]
)
def test_only_a_step_that_resumes_finds_what_it_left(resumes: str | None, left: str) -> None:
    todo = [step("a", resumes=resumes)]
    Path("out").mkdir()
    record = {"a": {"key": steps.keys(todo, "g")[0]}}
    Path("out", steps.RECORD).write_text(json.dumps(record))
    Path("a").write_text("half\n")
    assert ("interrupted before" in run(todo)) == (resumes == "a")
    assert Path("a").read_text() == left


def test_what_a_step_prints_is_kept_whole_or_not_at_all() -> None:
    said = Step("say", "say", ("say",), (), prints="said.json")
    assert "regrow say > said.json" in run([said])
    assert Path("said.json").read_text() == "{}\n"
    broken = Step("fail", "fail", ("fail",), (), prints="never.json")
    with pytest.raises(errors.RegrowError):
        run([broken])
    assert [p.name for p in Path().iterdir() if p.name.startswith("never")] == []


def test_a_step_that_makes_nothing_is_an_error() -> None:
    with pytest.raises(errors.RegrowError, match="made no b, expected it"):
        run([Step("a", "a", ("a",), ("b",))])


def test_a_damaged_record_only_costs_time() -> None:
    run([step("a")])
    Path("out", steps.RECORD).write_text("{")
    assert "reused" not in run([step("a")])


def test_torch_cannot_be_imported_where_a_device_is_meant() -> None:
    code = (
        "import sys, regrow.demo.torchless as t\n"
        "sys.meta_path.insert(0, t.Blocker())\n"
        "try:\n    import torch.nn\n"
        "except ImportError as error:\n    print(error)\n"
        "import json\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[0].startswith("torch: blocked")
    assert done.stdout.splitlines()[1] == "False"
