"""The torch peer of the benchmark computes what the engine computes, from the bundle alone."""

import dataclasses
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import regrow
from regrow import bundle as bundles
from regrow import selftest
from regrow.bench.subject import Episode
from regrow_exporter import export
from regrow_trainer import backbones
from regrow_trainer.peer import TorchSubject, main

CONV4 = "regrow_trainer.backbones.conv4:Conv4"
ARGS = {"input_shape": [1, 8, 8], "outputs": 4, "width": 4, "depth": 2}
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Export a small pruned Conv4, once per adaptable set."""
    folder = tmp_path_factory.mktemp("peer")

    def make(adaptable: str = "*") -> str:
        path = folder / f"{len(adaptable)}.regrow"
        if not path.exists():
            module = backbones.build(CONV4, ARGS, seed=3)
            weight = module.get_parameter("blocks.1.conv.weight")
            kept = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) > 0.6
            with torch.no_grad():
                weight.mul_(kept)
            export(
                module,
                torch.from_numpy(selftest.episode(1, 8, 4, SHAPE)[0]),
                adaptable=[adaptable],
                lr=0.05,
                masks={"blocks.1.conv.weight": kept},
                path=path,
                provenance={"backbone": {"path": CONV4, "args": ARGS}},
            )
        return str(path)

    return make


def episode(ways: int) -> Episode:
    x, y = selftest.episode(5, 8, ways, SHAPE)
    return Episode(x, y, selftest.episode(6, 9, ways, SHAPE)[0])


@pytest.mark.parametrize(("adaptable", "ways"), [("*", 4), ("*", 3), ("head.*", 4)])
def test_torch_and_engine_agree(adaptable: str, ways: int, exported: Callable[..., str]) -> None:
    path, made = exported(adaptable), episode(ways)
    subject = TorchSubject(bundles.read(path), made)
    session = regrow.open(path).session()
    session.adapt(made.x, made.y)
    expected = session.predict(made.query).logits
    for _ in range(2):  # every adaptation starts from the bundle
        subject.adapt()
        logits = subject.predict(len(made.query))
        used = np.isfinite(expected)
        assert (np.isneginf(logits) == ~used).all()
        np.testing.assert_allclose(logits[used], expected[used], rtol=2e-3, atol=2e-4)
    for name, array in session.parameters.items():
        np.testing.assert_allclose(subject.params[name].detach().numpy(), array, rtol=1e-3, atol=1e-4)


def test_one_query_is_normalised_by_the_support_set(exported: Callable[..., str]) -> None:
    subject = TorchSubject(bundles.read(exported()), episode(4))
    subject.adapt()
    np.testing.assert_allclose(subject.predict(9)[:1], subject.predict(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("provenance", "error", "message"),
    [
        ({}, regrow.UnsupportedError, "provenance.backbone is None"),
        ({"backbone": {"path": "os:system", "args": {}}}, regrow.BundleError, "names code at 'os:system'"),
        ({"backbone": {"path": "regrow_trainer_evil:x", "args": {}}}, regrow.BundleError, "names code at"),
        ({"backbone": {"path": CONV4, "args": {**ARGS, "width": 5}}}, regrow.UnsupportedError, "differ in"),
    ],
)
def test_only_a_backbone_of_ours_with_these_weights_is_run(
    provenance: dict[str, Any], error: type[Exception], message: str, exported: Callable[..., str]
) -> None:
    bundle = bundles.read(exported())
    manifest = dataclasses.replace(bundle.manifest, provenance=provenance)
    with pytest.raises(error, match=message):
        TorchSubject(dataclasses.replace(bundle, manifest=manifest), episode(4))


def test_the_peer_speaks_the_protocol(
    exported: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = episode(4)
    np.savez(tmp_path / "e.npz", x=made.x, y=made.y, query=made.query)
    monkeypatch.setattr(sys, "stdin", io.StringIO("adapt\nquit\n"))
    assert main(exported(), str(tmp_path / "e.npz")) == 0
    first, answer = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["ready"]
    assert answer["ms"] > 0
