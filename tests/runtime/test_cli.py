"""The command line: adapt, predict and inspect end to end, JSON, exit codes, and never a traceback."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import regrow
from regrow import plan

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle and samples, as the working directory."""
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path / "m.regrow")
    x, y = tiny.support()
    np.savez(tmp_path / "support.npz", x=x, y=y)
    np.savez(tmp_path / "named.npz", x=x, y=np.array(["oak", "elm", "ash", "fir", "yew"])[y])
    np.save(tmp_path / "x.npy", x)
    whole = (tmp_path / "m.regrow").read_bytes()
    (tmp_path / "cut.regrow").write_bytes(whole[:-100])
    (tmp_path / "flipped.regrow").write_bytes(whole[:900] + bytes([whole[900] ^ 4]) + whole[901:])
    (tmp_path / "labels.txt").write_text("\n".join(str(v) for v in y) + "\n")
    return tmp_path


def test_adapt_then_predict(here: Path, run: Run) -> None:
    code, out, err = run("adapt", "m.regrow", "named.npz", "-o", "ana.delta")
    assert (code, err) == (0, "")
    assert "learned 20 samples of 5 classes in 5 steps" in out
    code, out, _ = run("predict", "m.regrow", "named.npz", "--delta", "ana.delta", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["accuracy"] > 0.7
    assert {row["label"] for row in facts["predictions"]} <= {"oak", "elm", "ash", "fir", "yew"}
    # The same as in Python.
    session = regrow.open("m.regrow").session("ana.delta")
    made = session.predict(np.load("named.npz")["x"])
    assert [row["label"] for row in facts["predictions"]] == made.labels.tolist()
    assert facts["predictions"][0]["probability"] == pytest.approx(float(made.probabilities[0].max()))


def test_adapt_continues_from_a_delta(here: Path, run: Run) -> None:
    run("adapt", "m.regrow", "support.npz", "-o", "one.delta")
    code, out, _ = run(
        "adapt", "m.regrow", "support.npz", "-o", "two.delta", "--delta", "one.delta", "--json"
    )
    facts = json.loads(out)
    assert (code, facts["adaptations"], facts["classes"]) == (0, 2, {str(i): 8 for i in range(5)})
    session = regrow.open("m.regrow").session("one.delta")
    assert session.adapt(**dict(np.load("support.npz"))).loss == facts["loss"]


def test_labels_from_a_file_and_steps(here: Path, run: Run) -> None:
    code, out, _ = run(
        "adapt", "m.regrow", "x.npy", "--labels", "labels.txt", "--steps", 2, "-o", "a.delta", "--json"
    )
    facts = json.loads(out)
    assert (code, facts["steps"], len(facts["losses"])) == (0, 2, 2)
    code, _, err = run("adapt", "m.regrow", "x.npy", "-o", "b.delta")
    assert code == 2
    assert "labels" in err
    assert not (here / "b.delta").exists()


def test_predictions_as_csv(here: Path, run: Run) -> None:
    code, out, _ = run("predict", "m.regrow", "support.npz", "--csv", "out.csv")
    assert code == 0
    assert out.startswith("out.csv: 20 predictions")
    with (here / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["sample", "label", "probability"]
    assert len(rows) == 20


def test_inspect_says_what_a_bundle_is(here: Path, run: Run) -> None:
    code, out, _ = run("inspect", "m.regrow", "--support", 7, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["digest"] == regrow.open("m.regrow").digest
    assert facts["adaptable"]["tensors"] == 2
    assert facts["bytes"]["total"] == (here / "m.regrow").stat().st_size
    parts = {k: v for k, v in facts["bytes"].items() if k not in ("total", "dense_fp32")}
    assert sum(parts.values()) == facts["bytes"]["total"]
    bundle = regrow.open("m.regrow").bundle
    programs = {name: bundle.program(name) for name in bundle.manifest.programs}
    assert facts["peak_bytes"]["7"] == plan.peak_bytes(programs, 7)
    sparsity = {p["name"]: p["sparsity"] for p in facts["parameters"]}
    assert sparsity["head.weight"] == pytest.approx(11 / 30)
    # 30 H(11/30) bits of mask and 19 values.
    assert facts["sparse"] == {"tensors": 1, "bytes": 80, "bound": pytest.approx(79.6, abs=0.05)}
    code, out, _ = run("inspect", "m.regrow")
    for words in (
        "vector 6 float32",
        "sgd(lr=0.5), 5 steps",
        "head.weight  5x6",
        "36.7%",
        "by hand",
        "2 to 5",
    ):
        assert words in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("inspect", "missing.regrow"), "missing.regrow"),
        (("inspect", "support.npz"), "support.npz"),
        (("inspect", "."), "."),
        (("inspect", "cut.regrow"), "cut.regrow"),
        (("adapt", "flipped.regrow", "support.npz", "-o", "a.delta"), "flipped.regrow"),
        (("adapt", "m.regrow", "missing.npz", "-o", "a.delta"), "missing.npz: not found"),
        (("adapt", "m.regrow", "labels.txt", "-o", "a.delta"), "unknown suffix"),
        (("adapt", "m.regrow", "support.npz", "-o", "no/a.delta"), "create the directory first"),
        (
            ("adapt", "m.regrow", "support.npz", "-o", "a.delta", "--budget", "100B"),
            "not even one sample fits",
        ),
        (("adapt", "m.regrow", "support.npz", "-o", "a.delta", "--steps", "0"), "steps is 0"),
        (("adapt", "m.regrow", "support.npz", "-o", "a.delta", "--delta", "m.regrow"), "m.regrow"),
        (("adapt", "m.regrow", "support.npz", "-o", "a.delta", "--labels", "none.txt"), "none.txt"),
        (("adapt", "m.regrow", "support.npz", "-o", "m.regrow"), "add --force"),
        (("adapt", "m.regrow", "support.npz", "-o", "a.delta", "--engine", "abacus"), "no such engine"),
        (("predict", "m.regrow", "support.npz", "--csv", "labels.txt"), "exists already"),
        (("predict", "m.regrow", "support.npz", "--threads", "0"), "threads is 0"),
        (("bench", "m.regrow", "--repeat", "0"), "at least 1"),
        (("inspect", "m.regrow", "--support", "0"), "--support: 0 samples"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_2(
    words: tuple[str, ...], said: str, here: Path, run: Run
) -> None:
    before = {p.name: p.read_bytes() for p in here.iterdir() if p.is_file()}
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("regrow: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert {p.name: p.read_bytes() for p in here.iterdir() if p.is_file()} == before


@pytest.mark.parametrize("words", [(), ("nothing",), ("adapt",), ("adapt", "--budget", "many")])
def test_a_wrong_command_line_is_explained(words: tuple[str, ...], run: Run) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert "usage: regrow" in err


def test_force_replaces(here: Path, run: Run) -> None:
    run("adapt", "m.regrow", "support.npz", "-o", "a.delta")
    before = (here / "a.delta").read_bytes()
    assert run("adapt", "m.regrow", "named.npz", "-o", "a.delta", "--force")[0] == 0
    assert (here / "a.delta").read_bytes() != before


def test_the_module_is_the_command_and_survives_a_closed_pipe(here: Path) -> None:
    shell = f"{sys.executable} -m regrow inspect m.regrow | head -n 1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("bundle")
    assert done.stderr == ""
