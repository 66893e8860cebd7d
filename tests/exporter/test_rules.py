"""The rule is captured too: rules of different nature, each against itself in torch, and carried state."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import torch.nn.functional as F
from torch import nn

import regrow
from regrow import selftest
from regrow.errors import UnsupportedError
from regrow_exporter import deviation, export, verify
from regrow_exporter.drafting import environment
from regrow_exporter.programs import build
from regrow_trainer.rules import Rule
from regrow_trainer.rules.adam import adam
from regrow_trainer.rules.momentum import momentum
from regrow_trainer.rules.sgd import sgd
from tests.exporter import user_rules
from tests.exporter.networks import learner

STEPS = 3
OURS = {
    "momentum": lambda: momentum(0.05, 0.8, 0.01),
    "nesterov": lambda: momentum(0.05, nesterov=True),
    "adam": lambda: adam(0.02),
}
USERS = {
    name: getattr(user_rules, name)
    for name in (
        *("rate_per_parameter", "rate_per_step_and_row", "gradient_skip"),
        *("task_mask", "learned_rate", "calendar", "clipped"),
    )
}


def proven(rule, name="branches", steps=2 * STEPS):
    torch.manual_seed(3)
    made = learner(name, rule=rule)
    programs = build(made)
    figures = verify.verify(made, programs, environment(made, programs), steps)
    assert max(figures["reference"].values()) < deviation.GRAPH_LIMIT
    assert figures["engines"]["onnx"]["drift"] < 1e-2
    return programs


@pytest.mark.parametrize("name", [*OURS, *USERS])
def test_a_captured_rule_computes_what_it_computes_in_torch(name):
    proven({**OURS, **USERS}[name]())


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def in_torch(rule, meta, x, y, adaptations):
    """The rule itself in fp64, `step` from 0 in every adaptation, the state carried through."""
    module = small().double()
    params = {n: p.detach() for n, p in module.named_parameters()}
    meta = {n: t.double() for n, t in meta.items()}
    state = {n: t.double() if t.is_floating_point() else t for n, t in rule.init(meta, params).items()}
    x, y = torch.from_numpy(x).double(), torch.from_numpy(y)
    for _ in range(adaptations):
        for step in range(STEPS):
            live = {n: p.detach().requires_grad_() for n, p in params.items()}
            loss = F.cross_entropy(torch.func.functional_call(module, live, (x,)), y)
            grads = dict(zip(live, torch.autograd.grad(loss, list(live.values())), strict=True))
            params, state = rule.update(meta, params, grads, state, torch.tensor(step))
    return {n: p.detach().numpy() for n, p in params.items()}


def exported(tmp_path, rule, args, meta=None):
    settings = {"adaptable": ["*"], "steps": STEPS, "max_loss_rise": 100.0, "meta": meta, "rule_args": args}
    return export(small(), torch.rand(6, 6), path=tmp_path / "m.regrow", rule=rule, **settings).path


@pytest.mark.parametrize("name", USERS)
def test_a_session_does_what_the_rule_does_and_carries_its_state(tmp_path, name):
    rule = USERS[name]()
    meta = rule.meta({n: p.detach() for n, p in small().named_parameters()})
    path = exported(tmp_path, f"tests.exporter.user_rules:{name}", {}, meta)
    x, y = selftest.episode(5, 9, 3, (6,))
    session = regrow.open(path).session()
    for adaptations in (1, 2):
        session.adapt(x, y)
        for parameter, want in in_torch(rule, meta, x, y, adaptations).items():
            np.testing.assert_allclose(session.parameters[parameter], want, rtol=1e-4, atol=1e-5)
    # What was carried survives the way through a file.
    session.save(tmp_path / "d.delta")
    restored = regrow.open(path).session(tmp_path / "d.delta")
    for twin in (session, restored):
        twin.adapt(x, y)
    for parameter, want in session.parameters.items():
        np.testing.assert_array_equal(restored.parameters[parameter], want)


@pytest.mark.parametrize(
    ("rule", "args", "make"),
    [
        ("momentum", {"lr": 0.1, "momentum": 0.7, "weight_decay": 0.02}, torch.optim.SGD),
        ("momentum", {"lr": 0.1, "momentum": 0.7, "nesterov": True}, torch.optim.SGD),
        ("adam", {"lr": 0.05}, torch.optim.Adam),
    ],
)
def test_two_adaptations_are_twice_as_many_steps_of_torchs_own_optimiser(tmp_path, rule, args, make):
    session = regrow.open(exported(tmp_path, rule, args)).session()
    x, y = selftest.episode(5, 9, 3, (6,))
    module = small().double()
    optimiser = make(module.parameters(), **args)
    for _ in range(2):
        session.adapt(x, y)
        session.save(tmp_path / "d.delta")
        session = session.model.session(tmp_path / "d.delta")
        for _ in range(STEPS):
            optimiser.zero_grad()
            F.cross_entropy(module(torch.from_numpy(x).double()), torch.from_numpy(y)).backward()
            optimiser.step()
    for name, want in module.named_parameters():
        np.testing.assert_allclose(
            session.parameters[name], want.detach(), rtol=1e-4, atol=1e-5, err_msg=name
        )


READ_STEP = {"rate_per_step_and_row", "gradient_skip", "calendar", "clipped"}


@pytest.mark.parametrize("name", [*USERS, "momentum", "adam"])
def test_watched_steps_are_the_adaptation_whether_or_not_the_rule_reads_the_step(tmp_path, name):
    rule, args, meta = name, {}, None
    if name in USERS:
        meta = USERS[name]().meta({n: p.detach() for n, p in small().named_parameters()})
        rule = f"tests.exporter.user_rules:{name}"
    model = regrow.open(exported(tmp_path, rule, args, meta))
    x, y = selftest.episode(5, 9, 3, (6,))
    alone, watched, seen = model.session(), model.session(), []
    for _ in range(2):
        losses = alone.adapt(x, y).losses
        np.testing.assert_array_equal(watched.adapt(x, y, on_step=lambda k, _: seen.append(k)).losses, losses)
    assert watched.dump() == alone.dump()
    assert model.stepwise == (name not in READ_STEP)
    assert seen == ([1, 2, 3] if model.stepwise else [3]) * 2
    # Single steps without that knowledge are something else where the step matters; nothing is clipped here.
    single = model.session()
    for _ in range(2 * STEPS):
        single.adapt(x, y, steps=1)
    same = all(np.array_equal(single.parameters[n], w) for n, w in alone.parameters.items())
    assert same == (model.stepwise or name == "clipped")


def test_a_mask_of_the_task_leaves_some_tensors_bit_for_bit(tmp_path):
    meta = user_rules.task_mask().meta({n: p.detach() for n, p in small().named_parameters()})
    path = exported(tmp_path, "tests.exporter.user_rules:task_mask", {}, meta)
    session = regrow.open(path).session()
    before = dict(session.parameters)
    session.adapt(*selftest.episode(5, 9, 3, (6,)))
    moved = {n: not np.array_equal(before[n], after) for n, after in session.parameters.items()}
    assert any(moved.values())
    assert not all(moved.values())


def test_state_that_nothing_reads_is_not_carried():
    def update(meta, params, grads, state, step):
        count = state["count"] + 1
        return {n: p - 0.1 * grads[n] / count for n, p in params.items()}, {"count": count, "seen": step}

    def init(meta, params):
        none = torch.zeros((), dtype=torch.int64)
        return {"count": none, "seen": none}

    step = proven(Rule(lambda params: {}, init, update)).deployed["step"]
    assert [n for n in step.outputs if "state" in n] == ["next:state:count"]


def test_an_update_that_is_nothing_but_rounding_does_not_stop_an_export():
    """Adam moves a bias before a batch norm by the sign of rounding errors, in torch as well."""
    proven(adam(0.01), "conv4", steps=2)


def test_a_wrong_rate_is_refused_even_beside_such_noise():
    made = learner("conv4", rule=adam(0.01))
    programs = build(made)
    env = environment(made, programs)
    env["meta:lr"] = env["meta:lr"] * np.float32(1.001)
    with pytest.raises(deviation.VerificationError, match="verify: update"):
        verify.verify(made, programs, env, 1)


def test_what_a_rule_asks_for_and_cannot_get_is_said_at_once():
    def update(meta, params, grads, state, step):
        table = torch.rand(4)
        return {n: p - table[step] * grads[n].cumsum(0) for n, p in params.items()}, state

    rule = Rule(lambda params: {}, lambda meta, params: {}, update)
    with pytest.raises(UnsupportedError) as caught:
        build(learner("branches", rule=rule))
    for part in ("aten.rand.default", "aten.item.default", "aten.cumsum.default", "test_rules.py"):
        assert part in str(caught.value)


def test_only_what_the_rule_reads_of_the_step_is_in_the_program():
    kinds = {op.kind for op in proven(sgd(0.05)).deployed["step"].ops}
    assert not kinds & {"gather", "cast", "greater", "pow_tensor"}
