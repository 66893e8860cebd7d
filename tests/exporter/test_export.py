"""From a torch module to a file that a device adapts, as a user would call it."""

import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import torch.nn.functional as F
from torch import nn

import regrow
from regrow import bundle, selftest
from regrow.errors import BundleError, UnsupportedError
from regrow_exporter import export
from regrow_exporter.resolve import resolve
from tests.exporter.networks import learner, network

SETTINGS = {"adaptable": ["*"], "lr": 0.05, "steps": 3}


def exported(tmp_path, name="conv4", **settings):
    module, shape, loss = network(name)
    settings = {"loss": loss, **SETTINGS, **settings}
    return export(module, torch.rand(8, *shape), path=tmp_path / "m.regrow", **settings)


def masked(name="conv4", share=0.5):
    """The network with part of each convolution pruned, and the masks."""
    module, shape, _ = network(name)
    masks = {}
    with torch.no_grad():
        for n, p in module.named_parameters():
            if p.ndim == 4:
                masks[n] = torch.rand(p.shape) > share
                p.mul_(masks[n])
    return module, shape, masks


def test_the_device_computes_what_torch_computes(tmp_path):
    module, shape, masks = masked()
    made = export(module, torch.rand(8, *shape), path=tmp_path / "m.regrow", masks=masks, **SETTINGS)
    x, y = selftest.episode(3, 10, 5, shape)
    session = regrow.open(made.path).session()
    report = session.adapt(x, y)

    params = {n: p.detach().clone() for n, p in module.named_parameters()}
    losses = []
    for _ in range(3):
        live = {n: p.requires_grad_() for n, p in params.items()}
        loss = F.cross_entropy(
            torch.func.functional_call(module, live, (torch.from_numpy(x),)), torch.from_numpy(y)
        )
        losses.append(loss.item())
        grads = dict(zip(live, torch.autograd.grad(loss, list(live.values())), strict=True))
        new = {n: p.detach() - 0.05 * grads[n] for n, p in params.items()}
        params = {
            n: torch.where(masks[n], p, params[n].detach()) if n in masks else p for n, p in new.items()
        }
    np.testing.assert_allclose(report.losses, losses, rtol=1e-4)
    for name, want in params.items():
        np.testing.assert_allclose(
            session.parameters[name], want.detach(), rtol=1e-3, atol=2e-5, err_msg=name
        )
    for name, mask in masks.items():
        assert not session.parameters[name][~mask.numpy()].any()


def test_one_query_gets_the_same_answer_as_the_batch_it_came_from(tmp_path):
    made = exported(tmp_path)
    x, y = selftest.episode(3, 10, 5, made.manifest.input.shape)
    session = regrow.open(made.path).session()
    session.adapt(x, y)
    together = session.predict(x).logits
    alone = np.concatenate([session.predict(x[i : i + 1]).logits for i in range(len(x))])
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)


def test_a_transductive_bundle_normalises_by_its_queries(tmp_path):
    made = exported(tmp_path, batch_norm="transductive")
    assert made.manifest.statistics == ()
    x, y = selftest.episode(3, 10, 5, made.manifest.input.shape)
    session = regrow.open(made.path).session()
    session.adapt(x, y)
    together, half = session.predict(x).logits, session.predict(x[:5]).logits
    assert np.abs(together[:5] - half).max() > 1e-3


STANDALONE = """
import sys
import numpy as np, onnxruntime as ort
folder, feeds = sys.argv[1], dict(np.load(sys.argv[2]))
options = ort.SessionOptions()
options.log_severity_level = 3
adapt = ort.InferenceSession(folder + "/adapt.onnx", options)
out = dict(zip([o.name for o in adapt.get_outputs()], adapt.run(None, feeds)))
np.savez(sys.argv[3], **out)
assert not any(name.startswith(("regrow", "torch")) for name in sys.modules)
"""


def test_adapt_onnx_alone_gives_the_same_parameters(tmp_path):
    made = exported(tmp_path, onnx=tmp_path / "onnx")
    x, y = selftest.episode(3, 10, 5, made.manifest.input.shape)
    active = np.ones(5, np.bool_)
    np.savez(tmp_path / "feeds.npz", x=x, y=y, active=active, steps=np.array(3))
    command = [sys.executable, "-c", STANDALONE, str(tmp_path / "onnx"), str(tmp_path / "feeds.npz")]
    subprocess.run([*command, str(tmp_path / "out.npz")], check=True, timeout=120)
    out = np.load(tmp_path / "out.npz")
    session = regrow.open(made.path).session()
    session.adapt(x, y)
    for name, value in session.parameters.items():
        np.testing.assert_allclose(out[f"new:{name}"], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_fp16_is_half_and_what_was_verified_is_what_is_stored(tmp_path):
    full = exported(tmp_path).manifest
    half = exported(tmp_path, precision="fp16")
    assert all(p.values == "fp16" for p in half.manifest.parameters)
    assert sum(p.bytes for p in half.manifest.parameters) * 2 == sum(p.bytes for p in full.parameters)
    read = bundle.read(half.path)
    module, _, _ = network("conv4")
    for name, p in module.named_parameters():
        assert (read.params[name] == p.detach().half().float().numpy()).all()


def test_the_users_module_is_left_as_it_was(tmp_path):
    module, shape, _ = network("conv4")
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    export(module, torch.rand(8, *shape), path=tmp_path / "m.regrow", precision="fp16", **SETTINGS)
    assert all(torch.equal(before[n], p) for n, p in module.named_parameters())
    assert all(p.requires_grad for p in module.parameters())


def test_dropout_is_switched_off_in_what_is_exported_only(tmp_path):
    module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3))
    made = export(module, torch.rand(6, 4), path=tmp_path / "m.regrow", **SETTINGS)
    assert made.manifest.verification["reference"]["gradient"] < 1e-9
    assert module[1].p == 0.5


def test_zeros_are_taken_as_pruned_only_when_asked(tmp_path):
    module, shape, masks = masked()
    for wish in (None, "zeros"):
        made = export(module, torch.rand(8, *shape), path=tmp_path / "m.regrow", masks=wish, **SETTINGS)
        kinds = {p.name: p.adaptable for p in made.manifest.parameters}
        assert {kinds[n] for n in masks} == {"kept" if wish else "all"}
    assert made.bytes < 60_000


class Unsupported(nn.Module):
    """Two ops nobody wrote a rule for, in one network."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.erfinv(torch.cumsum(self.first(x), 1) * 0.01))


def test_every_unsupported_op_is_named_with_its_line(tmp_path):
    with pytest.raises(UnsupportedError) as caught:
        export(Unsupported(), torch.rand(4, 4), adaptable=["*"], path=tmp_path / "m.regrow")
    text = str(caught.value)
    assert "aten.erfinv.default" in text
    assert "aten.cumsum.default" in text
    assert text.count("test_export.py:") == 2
    assert not (tmp_path / "m.regrow").exists()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"adaptable": ["haed.*"]}, "nearest"),
        ({"precision": "fp8"}, "expected one of fp32"),
        ({"loss": "hinge"}, "expected one of cross_entropy"),
        ({"masks": {"head.weight": torch.zeros(5, 4, dtype=torch.bool)}}, "keeps nothing"),
        (
            {"masks": {"head.weight": torch.ones(2, 2, dtype=torch.bool)}},
            "no parameter of that name and shape",
        ),
        ({"masks": "ones"}, "expected 'zeros'"),
        ({"rule": "nosuch"}, "nosuch"),
        ({"steps": 0}, "steps"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(tmp_path, settings, match):
    with pytest.raises((UnsupportedError, BundleError), match=match):
        exported(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_mask_over_weights_that_are_not_zero_is_refused(tmp_path):
    module, shape, masks = masked()
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1)
    with pytest.raises(UnsupportedError, match="apply the mask first"):
        export(module, torch.rand(8, *shape), path=tmp_path / "m.regrow", masks=masks, **SETTINGS)


def test_a_bundle_that_fails_its_self_test_never_replaces_a_good_one(tmp_path, monkeypatch):
    good = exported(tmp_path)
    before = good.path.read_bytes()
    monkeypatch.setattr(selftest, "check", lambda bundle, engine: "logits differ")
    with pytest.raises(UnsupportedError, match="self-test"):
        exported(tmp_path)
    assert good.path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.regrow"]


def test_a_file_may_not_name_code_outside_the_trainer():
    with pytest.raises(BundleError, match="only followed when you name it"):
        resolve("os:system", named_by_user=False)
    with pytest.raises(BundleError, match="only followed when you name it"):
        resolve("regrow_trainer_evil:run", named_by_user=False)


def test_regression_exports_and_adapts(tmp_path):
    made = exported(tmp_path, "sine", steps=5)
    assert made.manifest.task == "regression"
    session = regrow.open(made.path).session()
    x = np.linspace(-1, 1, 10, dtype=np.float32)[:, None]
    report = session.adapt(x, np.sin(x))
    assert report.loss < report.losses[0]


def test_learner_helper_covers_buffers():
    assert "norm.running_mean" in learner("frozen").tensors()
