"""The outer loop: it learns, resumes bit for bit, survives interruption, and keeps pruned weights at zero."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow import checkpoint
from regrow.checkpoint import Checkpoint
from regrow.errors import BundleError, RegrowError
from regrow.progress import Progress
from regrow_trainer import metrics, training
from regrow_trainer.recipe import load_recipe
from regrow_trainer.training import train

Make = Callable[..., Any]
SINE = """
name = "sine"
data = { train = "sine:train", validation = "sine:val", test = "sine:test", n_way = 1, k_shot = 5 }
backbone = { name = "mlp", args = { hidden = [8] } }
learner = { loss = "mse", batch_norm = "none" }
train = { iterations = 6, tasks = 2, checkpoint_seconds = 1e-9 }
validation = { every = 2, episodes = 2 }
"""


def groups(c: Checkpoint) -> dict[str, Any]:
    """All arrays of a checkpoint as bytes, and what else must come back."""
    arrays = {"params": c.params, "masks": c.masks, "meta": c.meta, "extra": c.extra}
    made: dict[str, Any] = {
        f"{group}.{name}": a.tobytes() for group, part in arrays.items() for name, a in part.items()
    }
    return {**made, "progress": c.provenance["progress"], "iteration": c.iteration}


def story(path: Path) -> list[dict[str, Any]]:
    """Metrics without the clock."""
    return [{k: v for k, v in r.items() if k not in ("tasks_per_s", "seconds")} for r in metrics.read(path)]


def interrupt_at(monkeypatch: pytest.MonkeyPatch, iteration: int) -> None:
    """As Ctrl-C does, in the middle of an iteration."""

    class Interrupting(Progress):
        def update(self, done: int, **figures: float) -> None:
            if done == iteration:
                raise KeyboardInterrupt

    monkeypatch.setattr(training, "Progress", Interrupting)


@pytest.mark.parametrize(
    ("data", "overrides"),
    [
        ("sine", ["train.rule_lr=0.001"]),
        ("sine", ["prune.sparsity=0.5", "prune.schedule=iterative:0.25"]),
        ("sine", ["prune.sparsity=0.5", "prune.schedule=iterative:0.25", "prune.pruner=anp"]),
        ("sine", ["prune.sparsity=0.5", "prune.schedule=iterative:0.25", "prune.rewind=true"]),
        ("glyphs", ["train.strategy=second_order"]),
    ],
)
@pytest.mark.parametrize("at", [1, 4])
def test_an_interrupted_run_resumes_bit_for_bit(
    make_recipe: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: str,
    overrides: list[str],
    at: int,
) -> None:
    recipe = make_recipe(data, *overrides)
    whole = train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, at)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "parts")
    torch.rand(7)  # whatever else used the generator in between
    assert checkpoint.read(tmp_path / "parts" / "last.safetensors").iteration == at - 1
    parts = train(recipe, tmp_path / "parts", resume=True)
    assert groups(checkpoint.read(parts.last)) == groups(checkpoint.read(whole.last))
    assert groups(checkpoint.read(parts.best)) == groups(checkpoint.read(whole.best))
    assert story(parts.metrics) == story(whole.metrics)


def test_resuming_a_finished_run_changes_nothing(make_recipe: Make, tmp_path: Path) -> None:
    run = train(make_recipe("sine"), tmp_path / "run")
    before = groups(checkpoint.read(run.last)), story(run.metrics)
    train(make_recipe("sine"), tmp_path / "run", resume=True)
    assert (groups(checkpoint.read(run.last)), story(run.metrics)) == before


def test_what_a_kill_leaves_behind_does_not_hinder(make_recipe: Make, tmp_path: Path) -> None:
    run = train(make_recipe("sine", "train.checkpoint_seconds=1e-9"), tmp_path / "run")
    (run.path / ".last.safetensors.1.ab.tmp").write_bytes(run.last.read_bytes()[:100])
    with run.metrics.open("a", encoding="utf-8") as file:
        file.write('{"kind": "train", "iterati')
    train(make_recipe("sine", "train.checkpoint_seconds=1e-9"), run.path, resume=True)
    assert all(json.loads(line)["iteration"] for line in run.metrics.read_text().splitlines())


KILLED = """
import os, pathlib, sys
from regrow_trainer.recipe import load_recipe
from regrow_trainer.recipe import load_recipe
from regrow_trainer.training import train
calls, replace = [], os.replace
def replace_or_die(*names):
    calls.append(names)
    if len(calls) == 6:
        os.kill(os.getpid(), 9)
    replace(*names)
os.replace = replace_or_die
train(load_recipe(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""


def test_a_run_killed_while_it_saves_resumes_bit_for_bit(tmp_path: Path) -> None:
    recipe = tmp_path / "sine.toml"
    recipe.write_text(SINE)
    done = subprocess.run([sys.executable, "-c", KILLED, recipe, tmp_path / "killed"], check=False)
    assert done.returncode == -9
    assert list((tmp_path / "killed").glob(".*.tmp"))
    assert 0 < checkpoint.read(tmp_path / "killed" / "last.safetensors").iteration < 6
    killed = train(load_recipe(recipe), tmp_path / "killed", resume=True)
    whole = train(load_recipe(recipe), tmp_path / "whole")
    assert groups(checkpoint.read(killed.last)) == groups(checkpoint.read(whole.last))
    assert story(killed.metrics) == story(whole.metrics)


def test_a_failed_save_leaves_the_last_one_whole(
    make_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(make_recipe("sine"), tmp_path / "run")
    before = run.last.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", _full)
        with pytest.raises(RegrowError, match="free some space"):
            train(make_recipe("sine"), run.path, resume=True)
    assert run.last.read_bytes() == before
    assert sorted(p.name for p in run.path.iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "metrics.jsonl",
    ]


def _full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_run_is_not_overwritten_unasked(make_recipe: Make, tmp_path: Path) -> None:
    recipe = make_recipe("sine", "train.iterations=1")
    run = train(recipe, tmp_path / "run")
    with pytest.raises(RegrowError, match=r"--resume .* --force"):
        train(recipe, run.path)
    other = make_recipe("sine", "train.iterations=2")
    with pytest.raises(RegrowError, match="another recipe"):
        train(other, run.path, resume=True)
    assert checkpoint.read(train(other, run.path, force=True).last).iteration == 2


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda p: p.write_text("x"), "is a file"),
        (lambda p: p.mkdir(), "no last.safetensors"),
        (lambda p: (p.mkdir(), (p / "last.safetensors").write_bytes(b"x" * 9)), "last.safetensors"),
    ],
)
def test_a_folder_that_cannot_be_resumed(
    make_recipe: Make, tmp_path: Path, prepare: Callable[[Path], Any], words: str
) -> None:
    prepare(tmp_path / "run")
    with pytest.raises(RegrowError, match=words):
        train(make_recipe("sine"), tmp_path / "run", resume=True)


def test_the_best_checkpoint_cannot_be_resumed(make_recipe: Make, tmp_path: Path) -> None:
    run = train(make_recipe("sine"), tmp_path / "run")
    run.last.write_bytes(run.best.read_bytes())
    with pytest.raises(BundleError, match="no optimiser state"):
        train(make_recipe("sine"), run.path, resume=True)


def test_pruned_weights_are_zero_from_the_first_round_on(make_recipe: Make, tmp_path: Path) -> None:
    dense = checkpoint.read(train(make_recipe("glyphs"), tmp_path / "dense").best)
    recipe = make_recipe("glyphs", "prune.sparsity=0.6", "prune.schedule=iterative:0.3", "validation.every=1")
    run = train(recipe, tmp_path / "pruned", start=dense)
    for path in (run.last, run.best):
        made = checkpoint.read(path)
        assert set(made.masks) == {f"blocks.{i}.conv.weight" for i in range(3)}
        for name, mask in made.masks.items():
            assert int((~mask).sum()) == int(0.6 * mask.size + 0.5)
            zeros = made.params[name][~mask]
            assert zeros.tobytes() == np.zeros_like(zeros).tobytes()
            assert (made.params[name][mask] != dense.params[name][mask]).any()
    assert made.provenance["sparsity"] == pytest.approx(0.6, abs=0.01)
    assert made.provenance["meta_iterations"] == dense.iteration + made.iteration
    # The first iteration ran at half of the sparsity; what came of it may not be called the best.
    assert checkpoint.read(run.best).iteration > 1


def test_pruning_without_retraining_only_removes(make_recipe: Make, tmp_path: Path) -> None:
    dense = checkpoint.read(train(make_recipe("glyphs"), tmp_path / "dense").best)
    recipe = make_recipe("glyphs", "train.iterations=0", "prune.sparsity=0.5", "prune.schedule=iterative:0.2")
    made = checkpoint.read(train(recipe, tmp_path / "pruned", start=dense).best)
    for name, value in made.params.items():
        mask = made.masks.get(name, np.ones(value.shape, dtype=bool))
        assert np.array_equal(value, np.where(mask, dense.params[name], 0))
    assert made.provenance["sparsity"] == pytest.approx(0.5, abs=0.01)


def test_it_learns(make_recipe: Make, tmp_path: Path) -> None:
    recipe = make_recipe(
        "glyphs",
        "train.strategy=second_order",
        "train.iterations=40",
        "train.tasks=8",
        "train.lr=0.02",
        "data.args.classes=30",
        "backbone.args.width=8",
        "validation.every=20",
        "validation.episodes=40",
    )
    run = train(recipe, tmp_path / "run")
    found = [r["accuracy"] for r in metrics.read(run.metrics) if r["kind"] == "validation"]
    assert found[-1] > 0.5  # chance is a third
    best = checkpoint.read(run.best)
    assert best.provenance["progress"]["best"]["score"] == max(found)


def test_it_stops_early_and_keeps_the_best(make_recipe: Make, tmp_path: Path) -> None:
    recipe = make_recipe(
        "sine", "train.iterations=100", "train.lr=1e-12", "validation.every=1", "validation.patience=2"
    )
    run = train(recipe, tmp_path / "run")
    last, best = checkpoint.read(run.last), checkpoint.read(run.best)
    assert last.provenance["progress"]["stale"] == 2
    assert best.iteration < last.iteration < 100
    assert not best.extra


def test_gradients_that_are_not_finite_are_skipped_and_counted(make_recipe: Make, tmp_path: Path) -> None:
    recipe = make_recipe("sine", "rule.args.lr=1e30", "train.iterations=2")
    with pytest.raises(RegrowError, match=r"no validation had a finite loss.*lower rule.args.lr"):
        train(recipe, tmp_path / "run")
    last = checkpoint.read(tmp_path / "run" / "last.safetensors")
    assert last.provenance["progress"]["skipped"] == 2
    assert all(np.isfinite(p).all() for p in last.params.values())


def test_the_rates_are_learned_only_when_asked(make_recipe: Make, tmp_path: Path) -> None:
    fixed = checkpoint.read(train(make_recipe("sine"), tmp_path / "a").last)
    learned = checkpoint.read(train(make_recipe("sine", "train.rule_lr=0.001"), tmp_path / "b").last)
    assert float(fixed.meta["lr"]) == np.float32(0.01)
    assert float(learned.meta["lr"]) != np.float32(0.01)


def test_a_start_of_another_shape_is_refused(make_recipe: Make, tmp_path: Path) -> None:
    dense = checkpoint.read(train(make_recipe("sine", "train.iterations=0"), tmp_path / "a").best)
    wider = make_recipe("sine", "backbone.args.hidden=[8, 9]")
    with pytest.raises(RegrowError, match=r"parameter 'head.weight' is \(1, 8\), expected \(1, 9\)"):
        train(wider, tmp_path / "b", start=dense)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("learner.loss=mse", "expected 'cross_entropy'"),
        ("learner.adaptable=['blok.*']", "nearest names: blocks"),
        ("backbone.name=conv5", "did you mean 'conv4'"),
        ("backbone.name=nowhere:Net", "cannot be imported"),
        ("backbone.name=json:dumps", "expected arguments: obj"),
        ("backbone.args.widht=3", "found widht; expected arguments: input_shape, outputs, width"),
        ("backbone.args.downsample=half", "expected 'pool' or 'stride'"),
        ("backbone.args={depth=9, downsample='pool'}", "use fewer blocks"),
        ("rule.name=sdg", "did you mean 'sgd'"),
        ("rule.args.rate=3", "found rate; expected arguments: lr"),
        ("rule.name=regrow_trainer.schedule:rounds", "found lr; expected arguments: prune, iterations"),
        ("train.strategy=maml", "known: first_order, plain, reptile, second_order"),
        ("data.train=gliphs", "did you mean 'glyphs'"),
    ],
)
def test_what_a_recipe_names_wrongly_is_explained_before_a_folder_is_made(
    make_recipe: Make, tmp_path: Path, override: str, words: str
) -> None:
    data = ["backbone.args={}"] if "json" in override or "nowhere" in override else []
    with pytest.raises(RegrowError) as caught:
        train(make_recipe("glyphs", *data, override), tmp_path / "run")
    assert words in str(caught.value)
    assert not (tmp_path / "run").exists()
