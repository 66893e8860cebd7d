"""`regrow train`, `prune`, `evaluate` as typed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow import checkpoint
from regrow.cli import main
from regrow_trainer import training

RECIPE = """
name = "tiny"
[data]
train = "glyphs:train"
validation = "glyphs:val"
test = "glyphs:test"
args = { classes = 12, samples = 6 }
n_way = 3
queries = 2
[backbone]
name = "conv4"
args = { width = 4, depth = 3, downsample = "stride" }
[train]
iterations = 2
tasks = 2
[validation]
every = 1
episodes = 2
queries = 2
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def test_train_prune_evaluate(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, small = tmp_path / "run", tmp_path / "small"
    assert main(["train", str(recipe), "-o", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["checkpoint"] == str(run / "best.safetensors")
    assert told["meta_iterations"] == told["iteration"]
    line = ["prune", told["checkpoint"], "--sparsity", "0.5", "--retrain", "1", "-o", str(small), "--json"]
    assert main(line) == 0
    pruned = json.loads(capsys.readouterr().out)
    assert pruned["sparsity"] == 0.5
    assert pruned["meta_iterations"] == told["iteration"] + 1
    line = ["evaluate", pruned["checkpoint"], "--episodes", "3", "--queries", "2", "--steps", "2"]
    assert main([*line, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [point["steps"] for point in report["curve"]] == [0, 1, 2]
    assert set(report["controls"]) == {"shuffled labels", "nearest pixel", "nearest class mean"}
    assert main(line) == 0
    assert "nearest class mean" in capsys.readouterr().out


def test_train_from_a_checkpoint_counts_all_iterations(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(recipe), "-o", str(tmp_path / "a")]) == 0
    start = tmp_path / "a" / "last.safetensors"
    line = [
        "train",
        str(recipe),
        "--start",
        str(start),
        "--set",
        "train.iterations=1",
        "-o",
        str(tmp_path / "b"),
    ]
    assert main(line) == 0
    assert checkpoint.read(tmp_path / "b" / "best.safetensors").provenance["meta_iterations"] == 3
    assert "iteration 1, validation accuracy" in capsys.readouterr().out


def test_a_bare_key_and_a_folder_of_the_recipes_name(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["train", str(recipe), "--set", "steps=3", "--set", "iterations=1"]
    assert main([*line, "--dtype", "bf16", "--device", "cpu", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["checkpoint"] == str(Path("runs/tiny/best.safetensors"))
    made = checkpoint.read(told["checkpoint"])
    assert (made.steps, made.iteration, made.recipe["train"]["dtype"]) == (3, 1, "bf16")
    assert main(["evaluate", told["checkpoint"], "--episodes", "2", "--queries", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [point["steps"] for point in report["curve"]] == [0, 1, 2, 3]
    assert all(point["half_width"] >= 0 for point in report["curve"])


def test_a_bundle_has_a_curve_per_step_too(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    out, bundle = tmp_path / "run", tmp_path / "m.regrow"
    rule = ["--set", "rule={name='sgd', args={lr=0.1}}", "--set", "steps=2"]
    assert main(["train", str(recipe), "-o", str(out), *rule]) == 0
    assert main(["export", str(out / "best.safetensors"), "-o", str(bundle)]) == 0
    sizes = ["--episodes", "4", "--queries", "2", "--json"]
    curves = []
    for file in (out / "best.safetensors", bundle):
        capsys.readouterr()
        assert main(["evaluate", str(file), *sizes]) == 0
        curves.append([p["mean"] for p in json.loads(capsys.readouterr().out)["curve"]])
    assert len(curves[0]) == 3
    assert curves[1] == pytest.approx(curves[0])


def test_ctrl_c_says_how_to_go_on(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = str(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(training.Progress, "update", stop)
        assert main(["train", str(recipe), "-o", out]) == 130
    assert "--resume" in capsys.readouterr().err
    assert main(["train", str(recipe), "-o", out, "--resume"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "nowhere.toml", "-o", "x"], "nowhere.toml: cannot be read"),
        (["train", "{recipe}", "-o", "{tmp}/x", "--set", "train.iteration=3"], "did you mean 'iterations'"),
        (["prune", "{recipe}", "-o", "{tmp}/x"], "tiny.toml"),
        (["evaluate", "{recipe}"], "tiny.toml"),
    ],
)
def test_mistakes_are_one_line_and_no_traceback(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    line = [word.format(recipe=recipe, tmp=tmp_path) for word in words]
    assert main(line) == 2
    err = capsys.readouterr().err
    assert err.startswith("regrow: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("sparsity", ["1", "-0.5", "nan"])
def test_a_sparsity_that_cannot_be(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], sparsity: str
) -> None:
    assert main(["train", str(recipe), "-o", str(tmp_path / "a"), "--set", "train.iterations=0"]) == 0
    start = str(tmp_path / "a" / "best.safetensors")
    assert main(["prune", start, f"--sparsity={sparsity}", "-o", str(tmp_path / "b")]) == 2
    assert "prune.sparsity" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "x", "--steps", "-1"], "found '-1', expected a whole number from 0"),
        (["train", "x", "--workers", "none"], "found 'none', expected a whole number from 1"),
        (["prune", "x", "-o", "y", "--retrain", "-3"], "found '-3', expected a whole number from 0"),
    ],
)
def test_numbers_that_cannot_be(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_the_commands_load_without_torch() -> None:
    heavy = "{'torch', 'pydantic', 'numpy'}"
    code = f"import sys, regrow_trainer.cli, regrow_trainer; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
