"""Masks found in torch's pruning hooks: folded in a copy, named as the user names things, never guessed."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("safetensors")

from safetensors.torch import save_file
from torch.nn.utils import prune

import regrow
from regrow import bundle
from regrow.cli import main
from regrow.errors import BundleError, UnsupportedError
from regrow_exporter import export
from regrow_exporter.masks import copied, load_state
from regrow_trainer.backbones.conv4 import Conv4

SETTINGS = {"adaptable": ["*"], "lr": 0.05, "steps": 2}
CONV = "blocks.1.conv"


def network():
    torch.manual_seed(0)
    return Conv4((1, 14, 14), 5, 4, 2)


def hooked(amount=0.5):
    """A network as a user of torch.nn.utils.prune leaves it."""
    module = network()
    prune.l1_unstructured(module.get_submodule(CONV), "weight", amount)
    prune.random_unstructured(module.head, "weight", 0.25)
    prune.random_unstructured(module.head, "bias", 0.4)
    return module


def exported(tmp_path, module, **settings):
    return export(module, torch.rand(8, 1, 14, 14), path=tmp_path / "m.regrow", **SETTINGS, **settings)


def test_hooks_are_masks_and_names_stay(tmp_path):
    module = hooked()
    masks = {f"{CONV}.weight": module.get_submodule(CONV).weight_mask, "head.bias": module.head.bias_mask}
    made = exported(tmp_path, module)
    entries = {p.name: p for p in made.manifest.parameters}
    assert entries.keys() == {n for n, _ in network().named_parameters()}
    read = bundle.read(made.path)
    for name, mask in masks.items():
        assert entries[name].adaptable == "kept"
        assert (read.kept[name] == mask.bool().numpy()).all()
    x, y = np.random.default_rng(0).random((10, 1, 14, 14), np.float32), np.arange(10) % 5
    session = regrow.open(made.path).session()
    session.adapt(x, y)
    for name, mask in masks.items():
        assert not session.parameters[name][~mask.bool().numpy()].any()


def test_the_users_hooks_stay_and_the_copy_computes_the_same():
    module = hooked()
    made, masks = copied(module)
    x = torch.rand(4, 1, 14, 14)
    assert torch.equal(made(x), module(x))
    assert prune.is_pruned(module)
    assert not prune.is_pruned(made)
    assert masks.keys() == {f"{CONV}.weight", "head.weight", "head.bias"}
    assert "weight_orig" in dict(module.head.named_parameters())


def test_a_hook_and_a_given_mask_may_agree_but_not_differ(tmp_path):
    module = hooked()
    mask = module.head.weight_mask.bool()
    made = exported(tmp_path, module, masks={"head.weight": mask})
    assert {p.name for p in made.manifest.parameters if p.adaptable == "kept"} == {
        f"{CONV}.weight",
        "head.weight",
        "head.bias",
    }
    other = mask.clone()
    other[0, 0] = ~other[0, 0]
    with pytest.raises(UnsupportedError, match="differs from the mask"):
        exported(tmp_path, module, masks={"head.weight": other})


def test_zeros_asks_for_the_tensors_without_a_hook_only(tmp_path):
    module = network()
    with torch.no_grad():
        module.head.weight[0, 0] = 0
        module.get_submodule(CONV).weight[0, 0, 0, 0] = 0
    # A hook that keeps everything says that this zero is a weight like any other.
    prune.identity(module.get_submodule(CONV), "weight")
    made = exported(tmp_path, module, masks="zeros")
    kept = {p.name: p.kept - p.size for p in made.manifest.parameters}
    assert kept["head.weight"] == -1
    assert kept[f"{CONV}.weight"] == 0


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A module by path, its weights saved with hooks, and samples."""
    (tmp_path / "prunednet.py").write_text(
        "from regrow_trainer.backbones.conv4 import Conv4\n"
        "from torch.nn.utils import prune\n"
        "def build():\n    return Conv4((1, 14, 14), 5, 4, 2)\n"
        "def build_hooked():\n    m = build()\n    prune.identity(m.head, 'weight')\n    return m\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((6, 1, 14, 14), np.float32))
    return tmp_path


@pytest.mark.parametrize("build", ["build", "build_hooked"])
def test_weights_saved_with_hooks_load_from_the_command_line(files, build):
    module = network()
    prune.l1_unstructured(module.head, "weight", 0.5)
    save_file(module.state_dict(), files / "w.safetensors")
    words = ["export", f"prunednet:{build}", "-o", files / "m.regrow", "--weights", files / "w.safetensors"]
    assert main([str(w) for w in [*words, "--example", files / "x.npy"]]) == 0
    read = bundle.read(files / "m.regrow")
    assert (read.kept["head.weight"] == module.head.weight_mask.bool().numpy()).all()
    np.testing.assert_array_equal(read.params["head.weight"], module.head.weight.detach().numpy())


def test_masks_may_be_a_file(files):
    module = network()
    mask = torch.rand(module.head.weight.shape) > 0.5
    with torch.no_grad():
        module.head.weight.mul_(mask)
    save_file(module.state_dict(), files / "w.safetensors")
    save_file({"head.weight": mask}, files / "masks.safetensors")
    words = ["export", "prunednet:build", "-o", files / "m.regrow", "--weights", files / "w.safetensors"]
    words += ["--example", files / "x.npy", "--masks", files / "masks.safetensors"]
    assert main([str(w) for w in words]) == 0
    assert (bundle.read(files / "m.regrow").kept["head.weight"] == mask.numpy()).all()


def test_weights_that_do_not_fit_are_named():
    state = hooked().state_dict()
    del state["head.weight_mask"]
    with pytest.raises(BundleError, match=r"w\.safetensors: .*head\.weight_orig"):
        load_state(network(), state, "w.safetensors")
