"""Losses with options: the device minimises what torch computes, and what makes no sense is refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import torch.nn.functional as F

import regrow
from regrow.errors import UnsupportedError
from regrow_exporter import export
from tests.exporter.few_shot import clouds, example, parting

WEIGHT = [0.5, 2.0, 1.0]


def weighted(outputs, y, sharpness=1.0, weight=None):
    """A loss of one's own, with options."""
    return F.cross_entropy(sharpness * outputs, y, None if weight is None else torch.tensor(weight))


def exported(tmp_path, **settings):
    return export(
        parting(), example(), path=tmp_path / "m.regrow", adaptable=["*"], lr=0.1, steps=3, **settings
    )


@pytest.mark.parametrize(
    ("loss", "args", "by_torch"),
    [
        ("cross_entropy", {"label_smoothing": 0.1}, lambda o, y: F.cross_entropy(o, y, label_smoothing=0.1)),
        (
            "cross_entropy",
            {"weight": np.array(WEIGHT)},
            lambda o, y: F.cross_entropy(o, y, torch.tensor(WEIGHT)),
        ),
        (
            "cross_entropy",
            {"label_smoothing": 0.3, "weight": WEIGHT},
            lambda o, y: F.cross_entropy(o, y, torch.tensor(WEIGHT), label_smoothing=0.3),
        ),
        (
            "tests.exporter.test_loss_options:weighted",
            {"sharpness": 0.5, "weight": WEIGHT},
            lambda o, y: weighted(o, y, 0.5, WEIGHT),
        ),
    ],
)
def test_the_device_minimises_the_loss_with_its_options(tmp_path, loss, args, by_torch):
    made = exported(tmp_path, loss=loss, loss_args=args)
    x = np.concatenate([clouds().take(c, np.arange(2)) for c in range(3)])
    y = np.repeat(np.arange(3), 2)
    report = regrow.open(made.path).session().adapt(x, y)

    module, losses = parting(), []
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(3):
        value = by_torch(module(torch.from_numpy(x)), torch.from_numpy(y))
        losses.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    np.testing.assert_allclose(report.losses, losses, rtol=1e-5)
    plain = regrow.open(exported(tmp_path).path).session().adapt(x, y)
    assert abs(plain.losses[0] - losses[0]) > 1e-3


def test_the_manifest_names_the_loss_and_its_options(tmp_path):
    made = exported(tmp_path, loss_args={"weight": torch.tensor(WEIGHT), "label_smoothing": 0.25})
    stated = regrow.open(made.path).manifest.provenance["loss"]
    assert stated == {"name": "cross_entropy", "args": {"label_smoothing": 0.25, "weight": WEIGHT}}
    assert exported(tmp_path).manifest.provenance["loss"] == {"name": "cross_entropy", "args": {}}


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"loss_args": {"label_smoothing": 1.0}}, r"label_smoothing=1.0, expected a number in \[0, 1\)"),
        ({"loss_args": {"label_smoothing": "a"}}, "label_smoothing='a'"),
        ({"loss_args": {"weight": [1.0, 2.0]}}, "expected 3 above zero"),
        ({"loss_args": {"weight": [1.0, 0.0, 2.0]}}, "expected 3 above zero"),
        ({"loss_args": {"weight": [1.0, float("nan"), 2.0]}}, "expected 3 above zero"),
        ({"loss_args": {"weight": ["a", 1, 2]}}, "numbers"),
        ({"loss_args": {"smoothing": 0.1}}, "no option smoothing, expected label_smoothing or weight"),
        ({"loss": "mse", "loss_args": {"weight": WEIGHT}}, "'mse' has no option weight, expected none"),
        ({"loss": "bce", "loss_args": {"label_smoothing": 0.1}}, "'bce' has no option label_smoothing"),
        (
            {"loss": "tests.exporter.test_loss_options:weighted", "loss_args": {"sharp": 2}},
            "no option sharp, expected sharpness or weight",
        ),
        (
            {"loss": "tests.exporter.test_loss_options:weighted", "loss_args": {"sharpness": torch.ones(1)}},
            "give numbers, texts and lists",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, settings, match):
    with pytest.raises(UnsupportedError, match=match):
        exported(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []
