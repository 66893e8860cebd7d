"""What MMSUP and BMP learned to use, settled once: masks and layers that reach the device like any others."""

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
from regrow.cli import main
from regrow.episodes import open_source, sample
from regrow.errors import UnsupportedError
from regrow_exporter.checkpoints import export_checkpoint
from regrow_trainer.build import rebuild
from regrow_trainer.recipe import parse_recipe
from regrow_trainer.subnets import bmp, mmsup
from regrow_trainer.tensors import to_tensors
from regrow_trainer.training import train
from tests.exporter.test_reopened import RECIPE

PLAIN: dict[str, Any] = {"width": 4, "depth": 3, "downsample": "stride"}


def trained(folder: Path, **parts: Any) -> Checkpoint:
    quick = {**RECIPE["train"], "iterations": 2}
    recipe = parse_recipe({**RECIPE, "train": quick, **parts}, "tiny")
    return checkpoint.read(train(recipe, folder).best)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    args = {"backbone": "conv4", "args": PLAIN, "keep": 0.4}
    return trained(tmp_path_factory.mktemp("mmsup"), backbone={"name": "supermask", "args": args})


def test_mmsup_computes_the_same_on_the_plain_backbone_and_reaches_the_device(
    masked: Checkpoint, tmp_path: Path
) -> None:
    made = mmsup(masked, "masked")
    assert made.backbone["path"].endswith(":Conv4")
    assert not any(n.endswith(".keep") for n in made.params)
    for name, mask in made.masks.items():
        share = 1 / (1 + np.exp(-float(masked.params[name.replace(".weight", ".keep")])))
        assert int(mask.sum()) == int(share * mask.size)
    x = torch.rand(4, 1, 28, 28)
    outputs = [rebuild(c, "c").learner.outputs(to_tensors(c.params), x) for c in (masked, made)]
    assert torch.equal(*outputs)

    path, bundle = tmp_path / "m.safetensors", tmp_path / "m.regrow"
    checkpoint.write(path, made)
    export_checkpoint(path, bundle)
    model = regrow.open(bundle)
    stored = {p.name: p for p in model.manifest.parameters}
    assert all(stored[n].kept == int(mask.sum()) for n, mask in made.masks.items())
    session = model.session()
    episode = sample(open_source("glyphs:test", classes=8, samples=6), 3, 1, 2, 0, 0)
    session.adapt(episode.support_x, episode.support_y)
    assert all(not session.parameters[n][~mask].any() for n, mask in made.masks.items())


def test_mmsup_goes_on_under_its_masks_by_the_command(masked: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "masked.safetensors"
    checkpoint.write(path, masked)
    out = tmp_path / "run"
    line = ["prune", str(path), "--method", "mmsup", "--retrain", "2", "-o", str(out), "--json"]
    assert main(line) == 0
    made = checkpoint.read(out / "best.safetensors")
    wanted = mmsup(masked, "masked")
    assert all(np.array_equal(made.masks[n], mask) for n, mask in wanted.masks.items())
    assert all(not made.params[n][~mask].any() for n, mask in made.masks.items())
    assert made.iteration == 2
    assert main([*line, "--resume"]) == 0
    assert main([*line, "--force", "--sparsity", "0.5"]) == 2


def test_bmp_keeps_the_tensors_that_move(tmp_path: Path) -> None:
    start = trained(tmp_path / "run", rule={"name": "bmp", "args": {"lr": 0.2}})
    # Votes by the last bias alone: only the first block's convolution and the head may move.
    gated = [n for n in start.params if "norm" not in n]
    votes = [1.0 if n in ("blocks.0.conv.weight", "head.weight") else -1.0 for n in gated]
    start.meta["last.weight"] = np.zeros_like(start.meta["last.weight"])
    start.meta["last.bias"] = np.array(votes, np.float32)
    made = bmp(start, "bmp", workers=1)
    norms = {n for n in start.params if "norm" in n}
    assert set(made.adaptable) == {"blocks.0.conv.weight", "head.weight", *norms}
    assert made.rule["path"].endswith(":sgd")
    task = [torch.rand(3, 1, 28, 28), torch.arange(3)]
    before, after = rebuild(start, "start").learner, rebuild(made, "made").learner
    params = to_tensors(start.params)
    wanted = before.adapt(params, to_tensors(start.meta), {}, *task, 3)
    found = after.adapt(params, to_tensors(made.meta), {}, *task, 3)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("method", "words"), [(mmsup, "expected a supermask"), (bmp, "expected bmp")])
def test_another_methods_checkpoint_is_refused(tmp_path: Path, method: Any, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        method(trained(tmp_path / "run"), "plain")
