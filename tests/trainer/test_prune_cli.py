"""`regrow prune` as typed: methods, what it tells, channels, and what cannot go together."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow import checkpoint
from regrow.cli import main
from regrow_trainer.pruners import PRUNERS
from tests.trainer.test_cli import RECIPE


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    (folder / "tiny.toml").write_text(RECIPE)
    assert main(["train", str(folder / "tiny.toml"), "-o", str(folder / "run")]) == 0
    return folder / "run" / "best.safetensors"


@pytest.mark.parametrize("method", sorted(set(PRUNERS) - {"m2sgd"}))
def test_every_method_prunes_and_tells_what_it_did(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    line = ["prune", str(start), "--method", method, "--sparsity", "0.6", "--schedule", "iterative:0.3"]
    capsys.readouterr()
    assert main([*line, "--retrain", "2", "-o", str(tmp_path / "run"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rounds"] == 2
    assert told["pruning_seconds"] > 0
    assert (told["held_bytes"] > 0) == (method in ("anp", "l-obs"))
    made = checkpoint.read(told["checkpoint"])
    for layer in told["layers"]:
        mask = made.masks[layer["name"]]
        assert layer["weights"] == mask.size
        assert layer["weights"] - layer["kept"] == int(0.6 * mask.size + 0.5)
        assert layer["dead_outputs"] == int((~mask.reshape(len(mask), -1).any(1)).sum())
        assert layer["dead_inputs"] == int((~mask.any(axis=(0, 2, 3))).sum())
        assert not made.params[layer["name"]][~mask].any()


def test_meta_lth_is_a_preset_that_options_refine(start: Path, tmp_path: Path) -> None:
    for device, wanted in ((None, "plus_head"), ("strict", "strict"), ("kept", "kept")):
        out = tmp_path / str(device)
        more = [] if device is None else ["--device-scope", device]
        assert main(["prune", str(start), "--method", "meta-lth", *more, "-o", str(out)]) == 0
        made = checkpoint.read(out / "best.safetensors")
        plan = made.recipe["prune"]
        assert (plan["pruner"], plan["rewind"], plan["device"]) == ("magnitude", True, wanted)
        assert made.update == ("kept" if wanted == "kept" else "pruned")


def test_channels_as_typed_go_on_and_evaluate(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    line = ["prune", str(start), "--method", "taylor", "--channels", "--sparsity", "0.5", "-o", str(out)]
    capsys.readouterr()
    assert main([*line, "--retrain", "2"]) == 0
    said = capsys.readouterr().out
    assert "of 4 channels" in said
    assert "of the weights are gone with their channels" in said
    before = checkpoint.read(out / "best.safetensors")
    assert main([*line, "--retrain", "2", "--resume"]) == 0
    after = checkpoint.read(out / "best.safetensors")
    assert all(np.array_equal(after.params[n], p) for n, p in before.params.items())
    assert main(["evaluate", str(out / "best.safetensors"), "--episodes", "2", "--queries", "2"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "magnitud"], "did you mean 'magnitude'"),
        (["--method", "mmsup"], "expected a supermask"),
        (["--method", "m2sgd"], "no rate of its own for blocks.0.conv.weight"),
        (["--method", "bmp", "--sparsity", "0.5"], "what stays was learned"),
        (["--method", "mmsup", "--channels"], "--channels"),
        (["--channels", "--schedule", "iterative:0.1"], "expected oneshot"),
        (["--method", "anp", "--set", "prune.args.depth=3"], "found depth; expected arguments: tasks"),
        (["--sweep", "1,2"], "expected shares between 0 and 1"),
        (["--schedule", "iterative:0.0"], "found 'iterative:0.0', expected oneshot, or iterative:SHARE"),
    ],
)
def test_what_cannot_be_pruned_so_is_said(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["prune", str(start), *words, "-o", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "magnitud"], "did you mean 'magnitude'"),
        (["--method", "mmsup"], "what stays was learned"),
        (["--channels", "--rewind"], "expected oneshot"),
        (["--set", "prune.args.depth=3"], "found depth"),
    ],
)
@pytest.mark.parametrize("many", [["--sweep", "0.5"], ["--target-bytes", "64KiB"]])
def test_a_mistake_is_told_before_anything_is_trained(
    start: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    many: list[str],
    words: list[str],
    said: str,
) -> None:
    assert main(["prune", str(start), *many, *words, "-o", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_size_and_a_share_exclude_each_other(start: Path, tmp_path: Path) -> None:
    both = ["--sparsity", "0.5", "--target-bytes", "64KiB"]
    assert main(["prune", str(start), *both, "-o", str(tmp_path / "run")]) == 2


def test_a_pool_of_tasks_is_learned_from_again_and_again(start: Path, tmp_path: Path) -> None:
    """With one task in the pool, all tasks of an iteration are the same one, so one says as much as three."""
    made = []
    for tasks in (1, 3):
        sets = [f"train.tasks={tasks}", "train.task_pool=1"]
        words = [word for pair in sets for word in ("--set", pair)]
        out = tmp_path / str(tasks)
        assert main(["prune", str(start), "--retrain", "2", *words, "-o", str(out)]) == 0
        made.append(checkpoint.read(out / "last.safetensors"))
    # The gradient of a bias before a norm is rounding alone, which Adam makes steps of.
    for name in (n for n in made[0].params if not n.endswith("conv.bias")):
        value = made[0].params[name]
        np.testing.assert_allclose(made[1].params[name], value, rtol=1e-4, atol=1e-5)
