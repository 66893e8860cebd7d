"""Every engine present is proven on what is shipped, and the self-test is one that all of them pass."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from torch import nn

import regrow
from regrow import reference, selftest
from regrow.engines import available, core
from regrow_exporter import deviation, export, self_test
from regrow_exporter.drafting import environment
from regrow_exporter.oracle import oracle
from regrow_exporter.programs import Learner, build
from regrow_exporter.verify import verification_episode
from regrow_exporter.verify_engines import Case, check_engine
from regrow_trainer.rules.sgd import sgd
from tests.exporter.networks import network

native = pytest.mark.skipif(not core.PATH.exists(), reason="the native core is not built: no C compiler here")


def exported(tmp_path, name="conv4", **settings):
    module, shape, loss = network(name)
    settings = {"adaptable": ["*"], "lr": 0.05, "steps": 3, "loss": loss, **settings}
    return export(module, torch.rand(8, *shape), path=tmp_path / "m.regrow", **settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("conv4", {}),
        ("residual", {"rule": "momentum"}),
        ("sine", {"rule": "adam"}),
        ("conv4", {"rule": "prototype", "adaptable": None}),
    ],
)
def test_every_engine_present_is_proven_and_passes_the_self_test(tmp_path, name, settings):
    made = exported(tmp_path, name, **settings)
    figures = made.manifest.verification["engines"]
    assert set(figures) == set(available())
    keys = {"fit", "fit_torch", "drift", "drift_torch"} if "prototype" in settings.values() else set()
    keys = keys or {"gradient", "gradient_torch", "drift", "drift_torch", "flips"}
    assert all(set(f) == keys for f in figures.values())
    for engine in available():
        model = regrow.open(made.path, engine=engine)
        gaps = selftest.gaps(model.bundle, model.engine, made.manifest.selftest)
        assert all(gap < self_test.CLEAR * limit for gap, limit in gaps.values())


@native
@pytest.mark.parametrize("sparse", [False, True])
def test_masked_weights_are_proven_on_the_packed_form_that_is_shipped(tmp_path, sparse):
    module, shape, _ = network("conv4")
    masks = {}
    with torch.no_grad():
        for n, p in module.named_parameters():
            if p.ndim == 4:
                masks[n] = torch.rand(p.shape) < (0.2 if sparse else 0.7)
                p.mul_(masks[n])
    for update in ("kept", "pruned", "all"):
        path = tmp_path / f"{update}.regrow"
        made = export(module, torch.rand(8, *shape), adaptable=["*"], masks=masks, update=update, path=path)
        assert made.manifest.verification["engines"]["native"]["gradient"] < 1e-3


@native
def test_an_engine_that_refuses_is_recorded_in_its_own_words(tmp_path, monkeypatch):
    from regrow.plan.make import LOWER

    monkeypatch.delitem(LOWER, "max_pool2d")
    figures = exported(tmp_path).manifest.verification["engines"]
    assert "has no op max_pool2d" in figures["native"]["refused"]
    assert figures["onnx"]["gradient"] < 1e-3


@native
@pytest.mark.parametrize("steps", [1, 3])
def test_a_wrong_core_is_refused(tmp_path, monkeypatch, steps):
    """Off in the gradient where one step is asked for, off in the update where it is all of them."""
    from dataclasses import replace

    from regrow.engines.native import NativeEngine

    right = NativeEngine.adapt

    def wrong(self, x, y, active, params, state, count):
        made = right(self, x, y, active, params, state, count)
        if count != steps:
            return made
        weight = made.params["head.weight"]
        return replace(made, params={**made.params, "head.weight": weight * np.float32(1.01)})

    monkeypatch.setattr(NativeEngine, "adapt", wrong)
    said = "native: gradient of head.weight" if steps == 1 else "native: after 3 steps"
    with pytest.raises(deviation.VerificationError, match=said):
        exported(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_self_test_is_the_first_that_all_engines_agree_on(tmp_path, monkeypatch):
    def near_ties(test, losses, logits, shares={7: 3.0, 8: 0.5, 9: 0.05}):  # noqa: B006
        return {"losses": (shares.get(test.seed, 0.0) * test.tolerance, test.tolerance)}

    monkeypatch.setattr(selftest, "judged", near_ties)
    assert exported(tmp_path).manifest.selftest.seed == 9


@pytest.mark.parametrize(("share", "seed"), [(0.9, 7), (1.5, None)])
def test_where_none_is_clear_the_best_serves_if_it_passes(tmp_path, monkeypatch, share, seed):
    monkeypatch.setattr(selftest, "judged", lambda test, losses, logits: {"losses": (share, 1.0)})
    if seed is None:
        with pytest.raises(deviation.VerificationError, match=r"none comes out alike .* at 1.5 times"):
            exported(tmp_path)
    else:
        assert exported(tmp_path).manifest.selftest.seed == seed


class Shifted:
    """An engine whose first layer rounds a little, so that what lies at a tie falls the other way."""

    def __init__(self, programs, by):
        self.programs, self.by = programs, by

    def gradient(self, env):
        out = reference.run(self.programs.gradient, {**env, "0.bias": env["0.bias"] + self.by})
        return {n.removeprefix("grad:"): g for n, g in out.items() if n.startswith("grad:")}

    def adapt(self, env, steps):
        return reference.adapt(self.programs.deployed, env, steps)[0]


def at_a_tie(distance):
    """A network whose first unit is so far from its kink on the first sample, and what proves it."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    rule = sgd(0.05)
    names = tuple(n for n, _ in module.named_parameters())
    learner = Learner(module, (4,), names, rule, rule.meta({}), "cross_entropy", {})
    programs = build(learner)
    x, y = verification_episode(learner, 3)
    with torch.no_grad():
        module[0].bias[0] -= float(module[0](torch.from_numpy(x))[0, 0]) - distance
    env = {**environment(learner, programs), "x": x, "y": y}
    exact = oracle(learner, x, y, 1, torch.float64)
    singles = [oracle(learner, x, y, 1, torch.float32)]
    return Case(learner, programs, env, 1, exact, exact, singles)


@pytest.mark.parametrize("tie", [True, False])
def test_only_a_tie_explains_a_gradient_that_jumped(tie):
    made = at_a_tie(2e-7 if tie else 1e-2)
    engine = Shifted(made.programs, np.float32(-1e-6 if tie else -1.1e-2))
    if tie:
        assert check_engine("odd", engine, made)["gradient_ties"] > 1e-3
    else:
        with pytest.raises(deviation.VerificationError, match="no ReLU or pooling tie"):
            check_engine("odd", engine, made)


def test_a_tie_does_not_explain_an_error_elsewhere():
    made = at_a_tie(2e-7)
    engine = Shifted(made.programs, np.float32(-1e-6))
    right = engine.gradient
    engine.gradient = lambda env: {n: g * (1.01 if n == "2.weight" else 1) for n, g in right(env).items()}
    with pytest.raises(deviation.VerificationError, match=r"gradient of 2\.weight"):
        check_engine("odd", engine, made)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet12", "resnet20"])
def test_a_fresh_residual_network_opens_on_every_engine(tmp_path, name):
    from regrow_trainer.backbones.resnet import ResNet12, ResNet20

    torch.manual_seed(0)
    shape = (3, 84, 84) if name == "resnet12" else (3, 32, 32)
    module = (ResNet12 if name == "resnet12" else ResNet20)(shape)
    made = export(module, torch.rand(8, *shape), adaptable=["*"], path=tmp_path / "m.regrow")
    assert set(made.manifest.verification["engines"]) == set(available())
    for engine in available():
        model = regrow.open(made.path, engine=engine)
        assert selftest.check(model.bundle, model.engine) is None


def test_a_tie_excuses_only_what_lies_below_it():
    """What is above the last decision near a tie, or beside it, is held to the limit as everywhere."""
    assert set(at_a_tie(2e-7).ties) == {"0.weight", "0.bias"}
    assert at_a_tie(1e-2).ties == {}


def test_a_tie_excuses_no_more_than_it_costs_torch():
    made = at_a_tie(2e-7)
    engine = Shifted(made.programs, np.float32(-1e-6))
    right = engine.gradient
    engine.gradient = lambda env: {n: g * (3 if n == "0.weight" else 1) for n, g in right(env).items()}
    with pytest.raises(deviation.VerificationError, match=r"gradient of 0\.weight"):
        check_engine("odd", engine, made)
