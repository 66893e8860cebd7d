"""Every backbone of the table is exported and proven against torch; so is a module of the user's own."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import regrow
from regrow import selftest
from regrow.errors import UnsupportedError
from regrow_exporter import export
from regrow_trainer import backbones
from regrow_trainer.backbones import BACKBONES
from regrow_trainer.backbones.conv1d import Conv1d
from regrow_trainer.backbones.resnet import ResNet12, ResNet20

# The second block of a Conv4 with half of its channels.
THINNER = {
    "blocks.1.conv.weight": [2, 4, 3, 3],
    **{f"blocks.1.{name}": [2] for name in ("conv.bias", "norm.weight", "norm.bias")},
}
SMALL = {
    "conv1d": ({"width": 6, "depth": 3}, (3, 24)),
    "conv4": ({"width": 4, "depth": 2}, (1, 8, 8)),
    "mlp": ({"hidden": [6]}, (5,)),
    "narrow": (
        {"backbone": "conv4", "args": {"width": 4, "depth": 2}, "shapes": {"head.weight": [3, 8], **THINNER}},
        (1, 8, 8),
    ),
    "resnet12": ({"widths": [3, 4]}, (2, 9, 9)),
    "resnet20": ({"widths": [3, 4, 5], "depth": 2}, (2, 9, 9)),
    "supermask": ({"backbone": "conv4", "args": {"width": 4, "depth": 2}}, (1, 8, 8)),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_it_is_exported_and_adapts(tmp_path, name):
    args, shape = SMALL[name]
    path, filled = backbones.define(name, args, shape, 3)
    module = backbones.build(path, filled, seed=0)
    x, y = selftest.episode(1, 6, 3, shape)
    made = export(module, torch.from_numpy(x), adaptable=["*"], steps=2, lr=0.05, path=tmp_path / "m.regrow")
    session = regrow.open(made.path).session()
    before = dict(session.parameters)
    session.adapt(x, y)
    assert all(np.isfinite(t).all() for t in session.parameters.values())
    assert any(not np.array_equal(before[n], t) for n, t in session.parameters.items())


def test_resnet12_has_the_published_weights():
    sizes = {n: p.numel() for n, p in ResNet12().named_parameters()}
    assert sum(s for n, s in sizes.items() if ".convs." in n) == 7_816_896
    assert sum(s for n, s in sizes.items() if n.endswith("shortcut.weight")) == 172_224
    assert sum(s for n, s in sizes.items() if "norm" in n) == 7_680


def test_resnet20_has_the_published_weights():
    sizes = {n: p.numel() for n, p in ResNet20().named_parameters() if "norm" not in n}
    assert sum(sizes.values()) == 270_906
    assert sum(s for n, s in sizes.items() if "shortcut" in n) == 2_560


@pytest.mark.parametrize(
    "make",
    [lambda: ResNet12((3, 8, 8)), lambda: Conv1d((2, 7), depth=3), lambda: Conv1d((2, 64), kernel=4)],
)
def test_what_leaves_nothing_is_refused(make):
    with pytest.raises(UnsupportedError, match="backbone: "):
        make()
