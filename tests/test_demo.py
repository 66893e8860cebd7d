"""The demo: command lines that the commands take, results from the files they leave, one whole run."""

import argparse
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from regrow.demo import walk
from regrow.demo.collect import collect
from regrow.demo.steps import Step


def todo(out: Path) -> list[Step]:
    return walk.steps(out, Path("recipe.toml"), walk.FAST)


@pytest.mark.parametrize("step", todo(Path("out")), ids=lambda step: step.name)
def test_every_command_line_is_one_its_command_takes(step: Step) -> None:
    (point,) = [p for p in metadata.entry_points(group="regrow.commands") if p.name == step.command[0]]
    command = point.load()
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.configure(parser)
    if not any("--json" in action.option_strings for action in parser._actions):
        parser.add_argument("--json", action="store_true")
    args, unknown = parser.parse_known_args(step.command[1:])
    assert unknown == []
    assert vars(args)


def test_steps_need_only_what_earlier_ones_made() -> None:
    made: set[str] = set()
    for step in todo(Path("out")):
        words = [w for w in step.command if w.startswith("out/")]
        own = {*step.makes, *step.files}
        foreign = [
            w for w in words if w not in own and not any(w == m or w.startswith(m + "/") for m in made)
        ]
        assert foreign == [], f"{step.name} uses what no earlier step made"
        made |= own


def test_a_device_step_never_sees_torch() -> None:
    commands = {step.command[0]: step.torch_free for step in todo(Path("out"))}
    assert commands["adapt"]
    assert commands["predict"]
    assert commands["evaluate"]
    assert not commands["train"]


def figures(*names: str) -> dict[str, object]:
    return {name: {"median": 2.0, "low": 1.0, "high": 3.0, "count": 5} for name in names}


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What the steps leave behind, in small."""

    def write(name: str, data: object) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(data) + "\n")

    score = {"metric": "accuracy", "mean": 0.9, "half_width": 0.01, "episodes": 20}
    for model in walk.MODELS:
        for shots in walk.SHOTS:
            curve = [{"steps": 0, **score, "mean": 0.2}, {"steps": 1, **score}]
            write(f"{model}-{shots}-shot.json", {"curve": curve, "controls": {"nearest pixel": score}})
        write(f"{model}/metrics.jsonl", {"kind": "validation", "iteration": 10, "accuracy": 0.8})
        (tmp_path / f"{model}.regrow").write_bytes(bytes(100))
    write("base/metrics.jsonl", {"kind": "validation", "iteration": 20, "accuracy": 0.7})
    (tmp_path / "dense-onnx").mkdir()
    (tmp_path / "dense-onnx" / "predict.onnx").write_bytes(bytes(300))
    machine = {
        "date": "2026-11-21T01:02:03",
        "commit": "abc",
        "cpu": "c",
        "cores": 2,
        "system": "s",
        "load": 0.1,
    }
    names = ("adapt_ms", "predict_1_ms", "cold_ms", "above_import_bytes", "peak_bytes")
    write(
        "bench.json",
        {
            "support": 5,
            "machine": {**machine, "python": "3", "versions": {"regrow": "0"}},
            "subjects": {"onnx": figures(*names), "torch": figures(*names)},
        },
    )
    parameters = [{"kept": 15, "size": 100}, {"kept": 7, "size": 7}]
    provenance = {"data": {"n_way": 5}, "recipe": {"name": "glyphs"}}
    write("inspect.json", {"parameters": parameters, "provenance": provenance})
    write("predict.json", {"predictions": [{"label": "a"}, {"label": "a"}]})
    for name in ("support", "query"):
        np.savez(tmp_path / f"{name}.npz", x=np.zeros((2, 1, 3, 4), np.float32), y=np.array(["a", "b"]))
    return tmp_path


def test_results_come_from_the_files(left: Path) -> None:
    made = collect(left, walk.FAST, todo(left), {"base": 1.5})
    assert [(r["model"], r["shots"]) for r in made["accuracy"]] == [
        ("dense", 1), ("pruned", 1), ("dense", 5), ("pruned", 5),
    ]  # fmt: skip
    assert made["accuracy"][0]["before"]["mean"] == 0.2
    assert made["accuracy"][0]["controls"]["nearest pixel"]["mean"] == 0.9
    assert made["sizes"] == {
        "onnx_dense": 300, "bundle_dense": 100, "bundle_pruned": 100, "weights": 100, "kept": 15,
    }  # fmt: skip
    assert [p["iteration"] for p in made["curves"][0]["points"]] == [20, walk.FAST.base + 10]
    assert [q["predicted"] for q in made["episode"]["queries"]] == ["a", "a"]
    assert [p["predicted"] for p in made["episode"]["support"]] == [None, None]
    assert made["episode"]["shots"] == 1
    assert made["peers"][0]["name"] == "regrow (onnx)"
    assert made["torch_free"]
    json.dumps(made)


def test_the_demo_s_recipe_is_where_the_demo_looks() -> None:
    assert walk.find_recipe().read_text(encoding="utf-8").startswith("#")


@pytest.mark.slow
def test_the_whole_demo_runs_and_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("torch", "onnx", "onnxruntime", "matplotlib"):
        pytest.importorskip(module)
    from regrow.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--fast"]) == 0
    assert "reused" not in capsys.readouterr().out
    html = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert html.count("<svg") == 5
    assert main(["demo", "--fast", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err.count("reused") == len(todo(Path("demo")))
    assert json.loads(said.out)["torch_free"] is True
