"""Networks that torch-pruning has cut are ordinary networks: they export, adapt and shrink like any other."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own use of torch
    pruning = pytest.importorskip("torch_pruning")

import regrow
from regrow import selftest
from regrow_exporter import export
from tests.exporter.networks import Residual

SHAPE = (2, 8, 8)


def cut(module, ratio=0.5):
    """Half of the channels of every layer but the head, residual sums together."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = pruning.pruner.MagnitudePruner(
            module,
            torch.rand(2, *SHAPE),
            importance=pruning.importance.MagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=[module.head],
        )
        pruner.step()
    return module


@pytest.mark.parametrize("adaptable", [["head.*"], ["*"]], ids=["head", "all"])
def test_a_cut_residual_network_exports_like_any_other(tmp_path, adaptable):
    torch.manual_seed(0)
    example = torch.rand(8, *SHAPE)
    sizes = []
    for name, module in (("whole", Residual(width=8)), ("cut", cut(Residual(width=8)))):
        path = tmp_path / f"{name}.regrow"
        made = export(module, example, adaptable=adaptable, steps=2, path=path)
        sizes.append(made.bytes)
    shapes = {p.name: p.shape for p in made.manifest.parameters}
    assert shapes["convs.1.weight"] == (4, 4, 3, 3)
    assert shapes["head.weight"] == (4, 4)
    assert sizes[1] < sizes[0]
    x, y = selftest.episode(3, 8, 4, SHAPE)
    session = regrow.open(made.path).session()
    with torch.no_grad():
        module.train()
        expected = module(torch.from_numpy(x)).numpy()
    report = session.adapt(x, y)
    assert np.isfinite(report.loss).all()
    assert session.predict(x).logits.shape == expected.shape
