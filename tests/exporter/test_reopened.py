"""Meta-LTH: percentile, rewind and complement are exact, and a device moves the pruned positions only."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("pydantic")

import regrow
from regrow import checkpoint
from regrow.checkpoint import Checkpoint
from regrow.engines import available
from regrow.episodes import open_source, sample
from regrow.errors import UnsupportedError
from regrow_exporter.checkpoints import export_checkpoint
from regrow_trainer.build import build, moves, rebuild
from regrow_trainer.recipe import parse_recipe
from regrow_trainer.tensors import to_tensors
from regrow_trainer.training import train

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "data": {
        **{"train": "glyphs:train", "validation": "glyphs:val", "test": "glyphs:test"},
        **{"args": {"classes": 8, "samples": 6}, "n_way": 3, "queries": 2},
    },
    "backbone": {"name": "conv4", "args": {"width": 4, "depth": 3, "downsample": "stride"}},
    "rule": {"name": "sgd", "args": {"lr": 0.4}},
    "train": {"strategy": "first_order", "iterations": 4, "tasks": 2, "lr": 0.01},
    "validation": {"every": 2, "episodes": 2, "queries": 2},
    "learner": {"steps": 3},
}
SCOPES = ("strict", "plus_head", "plus_unmasked")
CONVOLUTIONS = [f"blocks.{i}.conv.weight" for i in range(3)]


def recipe(*overrides: str) -> Any:
    return parse_recipe(RECIPE, "tiny", overrides)


def ticket(dense: Checkpoint, folder: Path, *overrides: str) -> Checkpoint:
    """Pruned by magnitude, rewound, and trained again."""
    plan = ["prune.sparsity=0.7", "prune.rewind=true", *overrides]
    return checkpoint.read(train(recipe(*plan), folder, start=dense).best)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return checkpoint.read(train(recipe(), tmp_path_factory.mktemp("dense")).best)


def test_the_mask_is_of_trained_weights_and_the_values_are_the_first(
    dense: Checkpoint, tmp_path: Path
) -> None:
    made = ticket(dense, tmp_path, "train.iterations=0")
    first = build(recipe()).start().params
    assert set(made.masks) == set(CONVOLUTIONS)
    for name, value in made.params.items():
        mask = made.masks.get(name, np.ones(value.shape, bool))
        wanted = np.where(mask, first[name].numpy(), np.float32(0))
        assert value.tobytes() == wanted.tobytes()
        if name in made.masks:
            sizes = np.abs(dense.params[name])
            assert int((~mask).sum()) == int(0.7 * mask.size + 0.5)
            assert sizes[mask].min() >= sizes[~mask].max()
    assert any((made.params[n] != dense.params[n]).any() for n in made.params if n not in made.masks)


def test_a_later_run_rewinds_to_the_very_first_weights(dense: Checkpoint, tmp_path: Path) -> None:
    later = checkpoint.read(train(recipe("seed=5"), tmp_path / "later", start=dense).best)
    made = ticket(later, tmp_path / "ticket", "seed=6", "train.iterations=0")
    first = build(recipe()).start().params
    mask = made.masks[CONVOLUTIONS[1]]
    assert np.array_equal(made.params[CONVOLUTIONS[1]][mask], first[CONVOLUTIONS[1]].numpy()[mask])


def test_rewinding_forgets_what_the_rule_learned(tmp_path: Path) -> None:
    more = ["rule.name=meta_sgd", "train.rule_lr=0.1"]
    dense = checkpoint.read(train(recipe(*more), tmp_path / "dense").best)
    made = ticket(dense, tmp_path / "ticket", *more, "train.iterations=0")
    assert any((t != np.float32(0.4)).any() for t in dense.meta.values())
    assert all((t == np.float32(0.4)).all() for t in made.meta.values())


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("engine", available())
def test_a_device_moves_the_complement(dense: Checkpoint, tmp_path: Path, scope: str, engine: str) -> None:
    made = ticket(dense, tmp_path / "ticket", f"prune.device={scope}")
    path, bundle = tmp_path / "made.safetensors", tmp_path / "made.regrow"
    checkpoint.write(path, made)
    assert checkpoint.read(path).update == "pruned"
    export_checkpoint(path, bundle)
    session = regrow.open(bundle, engine=engine).session()
    before = {n: np.array(v) for n, v in session.parameters.items()}
    episode = sample(open_source("glyphs:test", classes=8, samples=6), 3, 1, 2, 0, 0)
    session.adapt(episode.support_x, episode.support_y)
    after = session.parameters

    moved = {n for n in after if not np.array_equal(after[n], before[n])}
    head = {"head.weight", "head.bias"}
    allowed = {
        "strict": set(CONVOLUTIONS),
        "plus_head": {*CONVOLUTIONS, *head},
        "plus_unmasked": set(made.params),
    }
    assert moved <= allowed[scope]
    assert moved >= allowed[scope] - {n for n in made.params if n.endswith("conv.bias")}
    for name, mask in made.masks.items():
        assert after[name][mask].tobytes() == made.params[name][mask].tobytes()
        # Nearly all: a place whose inputs are all zero in this episode has no gradient.
        assert (after[name][~mask] != 0).mean() > 0.8

    built = rebuild(made, "made")
    params, meta = to_tensors(made.params), to_tensors(made.meta)
    x, y = torch.from_numpy(episode.support_x), torch.from_numpy(episode.support_y)
    wanted = built.learner.adapt(params, meta, moves(made), x, y, made.steps)
    for name, value in after.items():
        np.testing.assert_allclose(value, wanted[name].numpy(), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("engine", available())
def test_a_channel_without_weights_grows_again(dense: Checkpoint, tmp_path: Path, engine: str) -> None:
    made = ticket(dense, tmp_path / "ticket", "prune.device=strict", "train.iterations=0")
    name = CONVOLUTIONS[1]
    for arrays in (made.masks, made.params):
        arrays[name] = arrays[name].copy()
        arrays[name][2] = 0
    # At a shift of zero the ReLU behind would let no gradient through.
    made.params["blocks.1.norm.bias"] = np.full_like(made.params["blocks.1.norm.bias"], 0.5)
    path, bundle = tmp_path / "made.safetensors", tmp_path / "made.regrow"
    checkpoint.write(path, made)
    export_checkpoint(path, bundle, steps=1)
    session = regrow.open(bundle, engine=engine).session()
    episode = sample(open_source("glyphs:test", classes=8, samples=6), 3, 1, 2, 0, 0)
    session.adapt(episode.support_x, episode.support_y)
    assert session.parameters[name].shape == made.params[name].shape
    built = rebuild(made, "made")
    x, y = torch.from_numpy(episode.support_x), torch.from_numpy(episode.support_y)
    params, meta = to_tensors(made.params), to_tensors(made.meta)
    wanted = built.learner.adapt(params, meta, moves(made), x, y, 1)[name][2]
    assert wanted.any()
    np.testing.assert_allclose(session.parameters[name][2], wanted.numpy(), rtol=5e-3, atol=5e-3)


def test_nothing_pruned_is_nothing_that_moves(dense: Checkpoint, tmp_path: Path) -> None:
    made = ticket(dense, tmp_path / "ticket", "prune.sparsity=0.0", "prune.device=strict")
    built = rebuild(made, "made")
    params = to_tensors(made.params)
    x, y = torch.rand(3, 1, 28, 28), torch.arange(3)
    adapted = built.learner.adapt(params, to_tensors(made.meta), moves(made), x, y, 3)
    assert all(torch.equal(adapted[n], p) for n, p in params.items())


def test_kept_positions_move_where_nothing_is_reopened(dense: Checkpoint, tmp_path: Path) -> None:
    made = ticket(dense, tmp_path / "ticket")
    assert made.update == "kept"
    assert all(
        torch.equal(mask, torch.from_numpy(np.array(made.masks[n]))) for n, mask in moves(made).items()
    )


@pytest.mark.parametrize("scope", SCOPES)
def test_rates_of_single_parameters_cannot_follow(scope: str) -> None:
    few = ["learner.adaptable=['blocks.*']", "rule.name=meta_sgd"]
    with pytest.raises(UnsupportedError, match=r"prune\.device adapts other parameters"):
        build(recipe(*few, "prune.sparsity=0.5", f"prune.device={scope}"))
