"""Metric heads: fitted as torch fits them, proven before they are written, and comparable fit after fit."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from torch import nn

import regrow
from regrow import reference, selftest
from regrow.errors import UnsupportedError
from regrow_exporter import deviation, export, verify, verify_fit
from regrow_exporter.drafting import environment
from regrow_exporter.learners import fitting
from regrow_exporter.ops import ONNX
from regrow_exporter.oracle import fitted_oracle
from regrow_exporter.programs import build
from regrow_trainer.norm import support_rows
from regrow_trainer.rules.prototype import prototype
from tests.exporter import user_rules
from tests.exporter.networks import network
from tests.exporter.test_verify import damaged

RULES = {
    "euclidean": prototype,
    "cosine": lambda: prototype("cosine", 10.0),
    "spread": user_rules.nearest_by_spread,
}


def built(name, rule=None, ways=None):
    module, shape, _ = network(name)
    torch.manual_seed(4)
    moving = fitting(module, torch.rand(6, *shape), rule or prototype(), "@head", ways, {})
    learner = moving.learner(module, shape, moving.names, "cross_entropy")
    programs = build(learner)
    return learner, programs, environment(learner, programs)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        *(("conv4", rule) for rule in RULES),
        *(("mixed", rule) for rule in RULES),
        *((name, "euclidean") for name in ("strided", "residual", "frozen")),
    ],
)
def test_a_fitted_head_is_proven(name, rule):
    figures = verify_fit.verify_fit(*built(name, RULES[rule](), 4))
    assert max(figures["reference"].values()) < deviation.GRAPH_LIMIT
    assert set(figures["engines"]["onnx"]) == {"fit", "fit_torch", "drift", "drift_torch"}
    assert figures["engines"]["onnx"]["fit"] < 1e-4


def test_there_is_no_gradient_in_it_and_the_network_runs_once():
    _, programs, _ = built("conv4")
    assert programs.gradient is None
    kinds = {key: [op.kind for op in program.ops] for key, program in programs.deployed.items()}
    assert not [kind for made in kinds.values() for kind in made if kind.endswith(("_back", "_dx", "_dw"))]
    assert kinds["prefix"].count("conv2d") == 3
    assert "conv2d" not in kinds["step"] + kinds["finish"]


@pytest.mark.parametrize("name", ["strided", "frozen"])
def test_any_wrong_value_that_shows_is_refused(name):
    """Dropping or scaling by 1.01 any one value of any program, unless nothing that leaves them notices."""
    learner, programs, env = built(name)
    x, y = verify.verification_episode(learner, programs.outputs)
    rounds = [(x, y), (x, np.roll(y, 1))]
    exact = fitted_oracle(learner, rounds, torch.float64)
    verify_fit._check_graph(programs, env, rounds, exact)
    right, tried, survivors = shown(programs, env, rounds), 0, []
    for key, value, factor, broken in mutants(programs, {**env, "x": x, "y": y, "step": np.asarray(0)}):
        with np.errstate(all="ignore"):
            found = shown(broken, env, rounds)
            # The square of a query's own features is the same for every class: a loss cannot see it.
            if all(np.allclose(found[n], want, rtol=1e-7, atol=1e-9) for n, want in right.items()):
                continue
            tried += 1
            try:
                verify_fit._check_graph(broken, env, rounds, exact)
            except deviation.VerificationError:
                continue
        survivors.append((key, value, factor))
    assert tried > 30
    assert survivors == []


def mutants(programs, known):
    """Programs with one float changed."""
    for key, program in programs.deployed.items():
        known |= {n: v for n, v in reference.trace(program, known).items() if n in program.outputs}
        made = reference.trace(program, known)
        for value in (n for op in program.ops for n in op.outputs if n and made[n].dtype.kind == "f"):
            for factor in (0.0, 1.01):
                broken = damaged(program, value, factor)
                yield key, value, factor, replace(programs, deployed={**programs.deployed, key: broken})


def shown(programs, env, rounds):
    """What leaves the programs in two fits: losses, what is carried, statistics, answers."""
    known, made = env, {}
    for i, (x, y) in enumerate(rounds):
        known, losses = reference.adapt(programs.deployed, {**known, "x": x, "y": y}, 1)
        logits = reference.run(programs.deployed["predict"], known)["logits"]
        kept = {n: v for n, v in known.items() if n.startswith(("state:", "stat:", "head.", "loss"))}
        made |= {f"{i} {n}": v for n, v in {**kept, "losses": losses, "logits": logits}.items()}
    return made


@pytest.mark.parametrize(("kind", "factor"), [("matmul", 1.001), ("add", 1.0001)])
def test_a_wrong_engine_kernel_is_refused(monkeypatch, kind, factor):
    right = ONNX[kind]

    def wrong(b, ins, op, values):
        return [b.node("Mul", right(b, ins, op, values)[0], np.float32(factor))]

    monkeypatch.setitem(ONNX, kind, wrong)
    with pytest.raises(deviation.VerificationError, match="onnx: fit of head"):
        verify_fit.verify_fit(*built("mixed"))


def exported(tmp_path, name="conv4", **settings):
    module, shape, _ = network(name)
    torch.manual_seed(6)
    path = tmp_path / "m.regrow"
    made = export(module, torch.rand(8, *shape), path=path, **{"rule": "prototype", **settings})
    return module, regrow.open(made.path)


def features(module, first, x):
    """What enters the head in torch, normalised by the statistics of `first`."""
    seen = []
    handle = module.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad(), support_rows(len(first)):
        module(torch.from_numpy(np.concatenate([first, x])))
    handle.remove()
    return seen[0][len(first) :].double().numpy()


def test_the_first_fit_sets_the_statistics_for_all_that_follow(tmp_path):
    """A single class must not be normalised by itself: its mean would not compare with the others'."""
    module, model = exported(tmp_path)
    x, y = selftest.episode(3, 16, 4, (1, 14, 14))
    later, _ = selftest.episode(9, 5, 1, (1, 14, 14))
    later = later * np.float32(2) + np.float32(0.5)
    session = model.session()
    session.adapt(x, y)
    session.save(tmp_path / "d.delta")
    for one in (session, model.session(tmp_path / "d.delta")):
        one.add_class(4, later)
        sums = np.stack([*(features(module, x, x[y == c]).sum(0) for c in range(4)),
                         features(module, x, later).sum(0)])  # fmt: skip
        np.testing.assert_allclose(one.parameters["head.sums"], sums, rtol=1e-4, atol=1e-4)
        means = sums / np.array([4, 4, 4, 4, 5])[:, None]
        distances = ((features(module, x, x)[:, None] - means) ** 2).sum(2)
        np.testing.assert_allclose(one.predict(x).logits, -distances, rtol=1e-3, atol=1e-3)


def test_known_prototypes_stay_bit_for_bit_and_undo_and_reset_forget(tmp_path):
    _, model = exported(tmp_path, ways=6, rule_args={"distance": "cosine", "scale": 8})
    x, y = selftest.episode(3, 24, 6, (1, 14, 14))
    session = model.session()
    session.adapt(x[y < 4], y[y < 4])
    sums, answers = session.parameters["head.sums"].copy(), session.predict(x).logits
    report = session.add_class(4, x[y < 5], y[y < 5])
    assert report.held_back == 16
    assert session.parameters["head.sums"][:4].tobytes() == sums[:4].tobytes()
    np.testing.assert_array_equal(session.predict(x).logits[:, :4], answers[:, :4])
    session.undo()
    assert session.parameters["head.sums"].tobytes() == sums.tobytes()
    # After a reset the statistics are those of the next first fit again.
    session.reset()
    session.adapt(x, y)
    again = model.session()
    again.adapt(x, y)
    np.testing.assert_array_equal(session.predict(x).logits, again.predict(x).logits)


def test_even_features_that_overflow_leave_known_prototypes_alone():
    learner, programs, env = built("frozen")
    x, y = selftest.episode(0, 6, 2, learner.shape)
    known, _ = reference.adapt(programs.deployed, {**env, "x": x, "y": y}, 1)
    x[:] = np.inf
    with np.errstate(invalid="ignore"):
        broken, _ = reference.adapt(programs.deployed, {**known, "x": x, "y": np.full(6, 2)}, 1)
    assert broken["head.sums"][:2].tobytes() == known["head.sums"][:2].tobytes()
    assert not np.isfinite(broken["head.sums"][2]).all()


def test_more_steps_than_the_fit_change_nothing():
    _, programs, env = built("conv4")
    x, y = selftest.episode(0, 10, 5, (1, 14, 14))
    once, _ = reference.adapt(programs.deployed, {**env, "x": x, "y": y}, 1)
    thrice, losses = reference.adapt(programs.deployed, {**env, "x": x, "y": y}, 3)
    np.testing.assert_array_equal(once["head.sums"], thrice["head.sums"])
    assert losses[1] == losses[2] == float(once["loss"])


def test_the_manifest_and_the_weights_say_what_it_is(tmp_path):
    module, model = exported(tmp_path, ways=20, adaptable=["blocks.*"])
    made = model.manifest
    assert (made.rule.name, made.rule.kind, made.rule.steps, made.rule.args) == ("prototype", "metric", 1, {})
    assert (made.policy.min_ways, made.policy.max_ways, made.output.shape) == (1, 20, (20,))
    names = {n for n, _ in module.named_parameters() if not n.startswith("head.")}
    assert {p.name for p in made.parameters} == names | {"head.sums", "head.counts"}
    assert {p.name for p in model.adaptable} == {"head.sums", "head.counts"}
    # Nothing has been learned yet, and nothing costs next to nothing.
    assert sum(p.bytes for p in model.adaptable) < 16
    assert {s.name for s in made.state} >= {"fitted", "blocks.0.norm.mean"}


def test_masks_and_half_precision_go_with_it(tmp_path):
    module, shape, _ = network("conv4")
    with torch.no_grad():
        for name in ("blocks.1.conv.weight", "head.weight"):
            parameter = module.get_parameter(name)
            parameter.mul_(torch.rand_like(parameter) < 0.4)
    path = tmp_path / "m.regrow"
    made = export(module, torch.rand(8, *shape), path=path, rule="prototype", masks="zeros", precision="fp16")
    stored = {p.name: p for p in made.manifest.parameters}
    assert stored["blocks.1.conv.weight"].sparsity > 0.4
    assert stored["blocks.1.conv.weight"].values == "fp16"
    x, y = selftest.episode(3, 10, 5, shape)
    session = regrow.open(path).session()
    session.adapt(x, y)
    assert session.counts == {str(i): 2 for i in range(5)}


class Embedding(nn.Module):
    """Ends in features, whatever its last layer is."""

    def __init__(self):
        super().__init__()
        self.low, self.last = nn.Linear(6, 8), nn.Linear(8, 7)

    def forward(self, x):
        return torch.tanh(self.last(torch.relu(self.low(x))))


def test_the_output_of_a_network_may_be_the_features(tmp_path):
    torch.manual_seed(0)
    module = Embedding()
    made = export(module, torch.rand(8, 6), rule="prototype", head=None, ways=3, path=tmp_path / "m.regrow")
    assert {p.name for p in made.manifest.parameters} == {
        *(n for n, _ in module.named_parameters()),
        *("head.sums", "head.counts"),
    }
    x, y = selftest.episode(3, 9, 3, (6,))
    session = regrow.open(made.path).session()
    session.adapt(x, y)
    seen = module(torch.from_numpy(x)).detach().double().numpy()
    means = np.stack([seen[y == c].mean(0) for c in range(3)])
    expected = -((seen[:, None] - means) ** 2).sum(2)
    np.testing.assert_allclose(session.predict(x).logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "last does not end the network"),
        ({"head": "nosuch"}, "head='nosuch'"),
        ({"head": None}, "--ways N"),
        ({"head": None, "ways": 0}, "for 0 class, expected room for 2 or more"),
        ({"head": None, "ways": 1}, "for 1 class, expected room for 2 or more"),
        ({"head": None, "ways": 3, "loss": "mse"}, "loss='mse'"),
        ({"rule": "sgd", "ways": 3}, "head and ways describe a metric head"),
        ({"rule": "sgd", "head": "last"}, "head and ways describe a metric head"),
        ({"rule_args": {"distance": "manhattan"}}, "distance 'manhattan'"),
        ({"rule_args": {"scale": 0}}, "scale 0"),
        ({"rule_args": {"lr": 0.1}}, "its arguments: distance, scale"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path, settings, said):
    with pytest.raises(UnsupportedError) as caught:
        export(Embedding(), torch.rand(8, 6), path=tmp_path / "m.regrow", **{"rule": "prototype", **settings})
    assert said in str(caught.value)
    assert not (tmp_path / "m.regrow").exists()


def test_a_fit_that_cannot_be_captured_says_where_it_was_written(tmp_path):
    settings = {"rule": "tests.exporter.user_rules:sorting", "head": None, "ways": 3}
    with pytest.raises(UnsupportedError, match=r"aten\.sort.*user_rules\.py"):
        export(Embedding(), torch.rand(8, 6), path=tmp_path / "m.regrow", **settings)
