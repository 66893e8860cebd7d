"""What is dead is cut out and what is constant is folded, and nothing that a device computes changes."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from torch import nn

import regrow
from regrow import bundle, selftest
from regrow.cli.inspect import describe, render
from regrow_exporter import deviation, export, pipeline, verify
from regrow_exporter.drafting import environment
from regrow_exporter.programs import build
from regrow_exporter.simplify import coupling, norms, reading
from regrow_trainer.rules.momentum import momentum
from tests.exporter.dead_networks import DEAD, SHAPE, dead

STEPS = 3


def learner(module, shape, adaptable=("head.*",), masks=None, update="kept"):
    """A learner as `export` makes it."""
    moving = pipeline.stepping(module, momentum(0.05, 0.9), STEPS, adaptable, None, masks or {}, update)
    return moving.learner(module, shape, moving.names, "cross_entropy")


def proven(made, **options):
    """The simplified programs and their errors against the network as it is, in fp64."""
    programs = build(made, simplified=True, **options)
    x, y = verify.verification_episode(made, programs.outputs)
    env = environment(made, programs) | programs.simplified.tensors
    env |= {"x": x, "y": y, "active": np.ones(programs.outputs, np.bool_)}
    exact = verify.oracle(made, x, y, STEPS, torch.float64)
    return programs, verify._check_graph(made, programs, env, exact, STEPS)


def exported(tmp_path, module, masks, shape=SHAPE, **options):
    """The same export, simplified and as captured."""
    example = torch.rand(8, *shape, generator=torch.Generator().manual_seed(3))
    made = []
    for simplify in (True, False):
        path = tmp_path / f"{simplify}.regrow"
        settings = {
            "masks": masks,
            "steps": STEPS,
            "lr": 0.05,
            "path": path,
            "name": "m",
            "simplify": simplify,
        }
        made.append(export(module, example, **settings, **options))
    return made


@pytest.mark.parametrize("tracked", [False, True], ids=["batch", "tracked"])
@pytest.mark.parametrize("name", DEAD)
def test_dead_channels_go_and_the_proof_still_holds(name, tracked):
    module, masks = dead(name, tracked)
    _, rows, shape, removed = DEAD[name]
    programs, errors = proven(learner(module, shape, masks=masks))
    record = programs.simplified.record
    assert record.get("channels", {"removed": 0})["removed"] == removed[tracked]
    assert max(errors.values()) < deviation.GRAPH_LIMIT
    assert set(record.get("shapes", rows)) >= set(rows) - {"low.weight"} if removed[tracked] else True


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_engine_predicts_and_adapts_as_before(tmp_path, precision):
    module, masks = dead("plain")
    small, whole = exported(tmp_path, module, masks, precision=precision)
    x, y = selftest.episode(3, 12, 3, SHAPE)
    # The scales of int8 are those of the rows that are left, so its rounding differs.
    allowed = {"fp32": 1e-5, "fp16": 2e-3, "int8": 5e-2}[precision]
    for engine in ("native", "onnx"):
        answers = []
        for made in (small, whole):
            session = regrow.open(made.path, engine=engine).session()
            before = session.predict(x).logits
            session.adapt(x, y)
            answers.append((before, session.predict(x).logits))
        for mine, theirs in zip(*answers, strict=True):
            assert np.abs(mine - theirs).max() < allowed
    assert small.dense_onnx_bytes < whole.dense_onnx_bytes
    weights = [sum(p.bytes for p in made.manifest.parameters) for made in (small, whole)]
    assert weights[0] < weights[1]


def test_a_wide_network_takes_fewer_bytes(tmp_path):
    module = nn.Sequential()
    module.add_module("body", nn.Conv2d(1, 64, 3, padding=1))
    module.add_module("norm", nn.BatchNorm2d(64, track_running_stats=False))
    module.add_module("act", nn.ReLU())
    module.add_module("low", nn.Conv2d(64, 16, 3))
    module.add_module("pool", nn.AdaptiveAvgPool2d(1))
    module.add_module("flat", nn.Flatten())
    module.add_module("head", nn.Linear(16, 3))
    mask = torch.rand(64, 1, 3, 3, generator=torch.Generator().manual_seed(0)) < 0.05
    with torch.no_grad():
        module.body.weight.mul_(mask)
    gone = int((~mask.flatten(1).any(1)).sum())
    small, whole = exported(tmp_path, module, {"body.weight": mask})
    assert small.manifest.provenance["simplified"]["channels"] == {"removed": gone, "of": 83}
    assert small.bytes < 0.7 * whole.bytes


def test_frozen_norms_fold_and_pruned_weights_stay_zero(tmp_path):
    module, masks = dead("skip", tracked=True)
    small, whole = exported(tmp_path, module, masks)
    assert small.manifest.provenance["simplified"]["norms"] == 1
    assert small.manifest.policy == whole.manifest.policy
    kinds = {op.kind for op in bundle.read(small.path).program("predict").ops}
    assert "batch_norm_frozen" not in kinds
    kept = {p.name: p for p in small.manifest.parameters}
    # Masked before, and no denser now.
    assert kept["inner.weight"].encoding != "dense"
    assert kept["inner.weight"].kept <= int(masks["inner.weight"].sum())
    assert not any(name.startswith("inner_norm") for name in kept)


def test_a_norm_that_adapts_is_not_folded():
    module, _ = dead("skip", tracked=True)
    programs, _ = proven(learner(module, SHAPE, ("head.*", "inner_norm.*")))
    assert "batch_norm_frozen" in {op.kind for op in programs.deployed["predict"].ops}
    assert programs.simplified.record["norms"] == 0


@pytest.mark.parametrize(
    "adaptable",
    ["first_norm.bias", "first.bias", "second.weight", "*", "first.weight[0:3]", "second.weight[1]"],
)
def test_nothing_that_adapts_loses_a_channel(adaptable):
    module, masks = dead("plain")
    made = learner(module, SHAPE, ("head.*", adaptable), masks)
    programs, errors = proven(made)
    shapes = {n: tuple(t.shape) for n, t in made.tensors().items()}
    assert all(programs.deployed["step"].values[n].shape == shapes[n] for n in made.adaptable)
    assert not set(programs.simplified.tensors) & set(made.adaptable)
    assert max(errors.values()) < deviation.GRAPH_LIMIT


@pytest.mark.parametrize("update", ["pruned", "all"])
def test_a_filter_that_can_grow_back_is_not_dead(update):
    module, masks = dead("plain")
    made = learner(module, SHAPE, ("head.*", "first.weight"), masks, update)
    programs, errors = proven(made)
    assert "first.weight" not in programs.simplified.record.get("shapes", {})
    assert max(errors.values()) < deviation.GRAPH_LIMIT


def test_what_an_adaptable_layer_reads_stays():
    """The gradient of its weights is real where its input is constant; the layers before lose their own."""
    module, masks = dead("unpadded")
    made = learner(module, DEAD["unpadded"][2], ("head.*", "low.*"), masks)
    programs, _ = proven(made)
    assert programs.simplified.record["channels"]["removed"] == 3
    assert "second.weight" in programs.simplified.tensors
    assert programs.simplified.tensors["second.weight"].shape[:2] == (6, 5)


def test_a_constant_that_scales_the_input_is_folded():
    class Scaling(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(4, 3))
            self.head = nn.Linear(3, 3)

        def forward(self, x):
            return self.head(x.flatten(1)[:, :3] * (self.scale * 2).mean(0))

    torch.manual_seed(0)
    programs, errors = proven(learner(Scaling(), SHAPE))
    assert programs.simplified.record["constants"] == 1
    assert max(errors.values()) < deviation.GRAPH_LIMIT


def test_constants_are_computed_once():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 1, 3, 3))
            self.scale = nn.Parameter(torch.rand(6, 1, 1, 1) + 0.5)
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            # Weight standardisation, as normaliser-free networks have it.
            w = self.scale * (self.weight - self.weight.mean((1, 2, 3), keepdim=True))
            return self.head(torch.relu(nn.functional.conv2d(x, w)).mean((2, 3)))

    torch.manual_seed(0)
    programs, errors = proven(learner(Scaled(), SHAPE))
    assert programs.simplified.record["constants"] == 1
    kinds = [op.kind for op in programs.deployed["predict"].ops]
    assert kinds == ["conv2d", "relu", "reduce_mean", "linear"]
    assert max(errors.values()) < deviation.GRAPH_LIMIT


def test_the_norm_of_a_constant_makes_no_noise():
    """A constant that fp32 cannot take the mean of exactly comes out of the norm as the shift itself."""
    module, masks = dead("plain")
    with torch.no_grad():
        module.first.bias[:] = 0.1
    made = learner(module, SHAPE, masks=masks)
    programs, _ = proven(made)
    scale = programs.simplified.tensors["first_norm.weight"]
    kept = made.tensors()["first_norm.weight"].numpy()
    assert (scale == 0).sum() == 1
    assert set(scale[scale != 0].astype(np.float32)) == set(kept[[1, 2, 4, 6, 7]])


def test_a_transductive_predict_is_cut_too():
    module, masks = dead("plain")
    programs, errors = proven(learner(module, SHAPE, masks=masks), transductive=True)
    assert programs.simplified.record["channels"]["removed"] == 4
    assert max(errors.values()) < deviation.GRAPH_LIMIT


def test_a_metric_head_is_fitted_on_the_same_features(tmp_path):
    module, masks = dead("plain")
    small, whole = exported(tmp_path, module, masks, rule="prototype", precision="fp16")
    assert small.manifest.provenance["simplified"]["channels"]["removed"] == 4
    x, y = selftest.episode(3, 12, 3, SHAPE)
    answers = []
    for made in (small, whole):
        session = regrow.open(made.path).session()
        session.adapt(x, y)
        answers.append(session.predict(x).logits)
    np.testing.assert_allclose(*answers, atol=2e-2)


def test_the_bundle_says_what_was_removed(tmp_path):
    module, masks = dead("plain", tracked=True)
    made, _ = exported(tmp_path, module, masks)
    record = made.manifest.provenance["simplified"]
    assert record["channels"] == {"removed": 4, "of": 27}
    assert record["shapes"]["first.weight"] == [8, 1, 3, 3]
    assert json.loads(json.dumps(record)) == record
    shown = render(describe(bundle.read(made.path), []))
    assert "4 of 27 channels removed, 2 norms and 0 constants folded" in shown


def test_nothing_to_simplify_changes_nothing(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    small, whole = exported(tmp_path, module, None, adaptable=["3.*"])
    assert small.digest == whole.digest


def too_large(scale_and_shift):
    def wrong(norm, fixed):
        scale, shift = scale_and_shift(norm, fixed)
        return scale * (1 + 1e-6), shift

    return wrong


def lost(read):
    """Reads of a layer in which a constant is forgotten."""

    def wrong(net, known, op):
        found = read(net, known, op)
        return replace(found, constants=found.constants * 0.99)

    return wrong


def unneeded(stays):
    """One channel too many."""

    def wrong(self, ids):
        made = stays(self, ids)
        return made & (ids != self.ids("second.weight")[0][0])

    return wrong


def test_a_wrong_scale_is_refused(tmp_path, monkeypatch):
    module, masks = dead("plain", tracked=True)
    monkeypatch.setattr(norms, "scale_and_shift", too_large(norms.scale_and_shift))
    with pytest.raises(deviation.VerificationError, match="differs from torch fp64"):
        exported(tmp_path, module, masks)
    assert not list(tmp_path.iterdir())


def test_a_lost_constant_is_refused(tmp_path, monkeypatch):
    from regrow_exporter.simplify import cut

    module, masks = dead("plain")
    monkeypatch.setattr(cut, "reading", lost(reading.reading))
    with pytest.raises(deviation.VerificationError, match="differs from torch fp64"):
        exported(tmp_path, module, masks, precision="int8")


def test_a_channel_too_many_is_refused(tmp_path, monkeypatch):
    module, masks = dead("plain")
    monkeypatch.setattr(coupling.Coupling, "stays", unneeded(coupling.Coupling.stays))
    with pytest.raises((deviation.VerificationError, ValueError)):
        exported(tmp_path, module, masks)
