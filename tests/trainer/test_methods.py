"""Every method against the oracle that defines it: differences, the method it contains, a hand formula."""

from itertools import pairwise
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from regrow.errors import UnsupportedError
from regrow_trainer import rules
from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.learner import Task
from regrow_trainer.rules import Rule
from regrow_trainer.rules.bmp import bmp
from regrow_trainer.rules.layers import owners
from regrow_trainer.rules.meta_sgd import meta_sgd
from regrow_trainer.rules.pamela import pamela
from regrow_trainer.rules.step_rates import step_rates
from regrow_trainer.schedule import step_shares
from regrow_trainer.strategies import strategy
from regrow_trainer.strategies.first_order import first_order
from regrow_trainer.strategies.reptile import reptile
from regrow_trainer.strategies.second_order import second_order
from tests.trainer.smooth import RATE, Tanh, differences, gap, outer, smooth

# As they begin, all of these are gradient descent.
CONTAINING_MAML: dict[str, Rule] = {
    "meta_sgd": meta_sgd(RATE),
    "step_rates": step_rates(RATE, 2),
    "pamela": pamela(RATE, steps=5, w=2),
    "pamela, literal": pamela(RATE, steps=5, w=2, skip="literal"),
    "pamela, beyond its steps": pamela(RATE, steps=2, w=1),
    "bmp": bmp(RATE),
}


@pytest.mark.parametrize("name", CONTAINING_MAML)
def test_it_begins_as_maml_bit_for_bit(name: str) -> None:
    learner, params, meta, task = smooth(5, rule=CONTAINING_MAML[name])
    plain, _, lr, _ = smooth(5)
    adapted = learner.adapt(params, meta, {}, task.support_x, task.support_y, 5)
    expected = plain.adapt(params, lr, {}, task.support_x, task.support_y, 5)
    assert all(torch.equal(adapted[n], t) for n, t in expected.items())
    out, want = (second_order(a, params, m, {}, task).params for a, m in ((learner, meta), (plain, lr)))
    assert gap(out, want) < 1e-12


@pytest.mark.parametrize("name", ["meta_sgd", "step_rates", "pamela", "pamela, literal"])
def test_what_a_rule_learns_has_the_gradient_of_differences(name: str) -> None:
    learner, params, meta, task = smooth(5, rule=CONTAINING_MAML[name])
    meta = {n: t + 0.1 * torch.randn_like(t) for n, t in meta.items()}
    out = second_order(learner, params, meta, {}, task)
    assert gap(out.meta, differences(lambda m: outer(learner, params, m, task), meta)) < 1e-7
    assert gap(out.params, differences(lambda p: outer(learner, p, meta, task), params)) < 1e-7


def test_meta_sgd_has_as_many_rates_as_weights() -> None:
    made = rates_of(meta_sgd())
    assert sum(t.numel() for t in made.values()) == 121_093


def test_pamela_has_the_published_number_of_parameters() -> None:
    made = rates_of(pamela(steps=5, w=2))
    q, p = (sum(t.numel() for n, t in made.items() if n.startswith(start)) for start in ("q.", "p."))
    assert 121_093 + q == 162_398
    assert p == 2 * 5


def rates_of(rule: Rule) -> dict[str, Any]:
    """Meta tensors for Conv4-64 on 84 x 84 pixels in colour, five ways."""
    return rule.meta(dict(Conv4((3, 84, 84), 5, 64).named_parameters()))


def test_biases_and_norms_belong_to_the_convolution_before_them() -> None:
    shapes = {n: tuple(p.shape) for n, p in Conv4((1, 28, 28), 5, width=5, depth=2).named_parameters()}
    found = owners(shapes)
    assert {n for n, owner in found.items() if owner == "blocks.1.conv.weight"} == {
        f"blocks.1.{rest}" for rest in ("conv.weight", "conv.bias", "norm.weight", "norm.bias")
    }
    assert found["head.bias"] == "head.weight"
    assert owners({"norm.bias": (3,)}) == {"norm.bias": "norm.bias"}


@pytest.mark.parametrize(
    ("skip", "w", "mixed"),
    [
        ("aligned", 2, {2: 0, 4: 2}),
        ("aligned", 1, {1: 0, 2: 1, 3: 2, 4: 3, 5: 4}),
        ("aligned", 5, {5: 0}),
        ("literal", 2, {3: 0, 5: 2}),
        ("literal", 3, {4: 0}),
        ("literal", 5, {}),
    ],
)
def test_pamela_mixes_where_the_card_says(skip: Any, w: int, mixed: dict[int, int]) -> None:
    """With P = 1, step t returns the weights of an earlier step; the others move on."""
    learner, params, meta, task = smooth(6, rule=pamela(RATE, 5, w, skip))
    meta = {n: torch.ones_like(t) if n.startswith("p.") else t for n, t in meta.items()}
    path = learner.path(params, meta, {}, task.support_x, task.support_y, 6)
    for t, (before, after) in enumerate(pairwise(path), 1):
        if t in mixed:
            assert all(torch.equal(after[n], old) for n, old in path[mixed[t]].items())
        else:
            assert not torch.equal(after["head.weight"], before["head.weight"])


def test_pamela_learns_one_half_where_it_is_asked_to() -> None:
    params = {"a.weight": torch.tensor([[3.0, -1.0]])}
    only_p, only_q, both = pamela(RATE, rates=False), pamela(RATE, w=6), pamela(RATE)
    meta = {"p.a.weight": torch.tensor([0.25, -0.5])}
    assert [set(rule.meta(params)) for rule in (only_p, only_q)] == [set(meta), {"q.a.weight"}]
    assert only_q.init(only_q.meta(params), params) == {}
    ends = []
    for rule in (only_p, both):
        now, own = params, {n: meta.get(n, t) for n, t in rule.meta(params).items()}
        state = rule.init(own, now)
        for step in range(5):
            now, state = rule.update(own, now, dict(now), state, torch.tensor(step))
        ends.append(now["a.weight"])
    assert torch.equal(*ends)
    assert not torch.allclose(ends[0], params["a.weight"] * (1 - RATE) ** 5)


def test_pamela_on_a_parabola_is_the_closed_form() -> None:
    """x <- (1 - q) x per step for x^2 / 2, mixed after steps 2 and 4 of 5."""
    rule, q, p = pamela(0.1, 5, 2), [0.1, 0.2, 0.3, 0.4, 0.5], [0.25, -0.5]
    params = {"x": torch.tensor([3.0], dtype=torch.float64)}
    meta = {"q.x": torch.tensor(q, dtype=torch.float64)[:, None], "p.x": torch.tensor(p, dtype=torch.float64)}
    state, x, kept = rule.init(meta, params), 3.0, 3.0
    for step in range(5):
        params, state = rule.update(meta, params, dict(params), state, torch.tensor(step))
        x *= 1 - q[step]
        if step in (1, 3):
            share = p[step // 2]
            x = kept = (1 - share) * x + share * kept
    assert float(params["x"]) == pytest.approx(x, rel=1e-14)


def test_bmp_with_every_vote_negative_moves_nothing() -> None:
    learner, params, meta, task = smooth(3, rule=bmp(RATE))
    meta["last.bias"] = -torch.ones_like(meta["last.bias"])
    adapted = learner.adapt(params, meta, {}, task.support_x, task.support_y, 3)
    assert all(torch.equal(adapted[n], p) for n, p in params.items())


def test_bmp_decides_per_tensor_and_spares_norms() -> None:
    torch.manual_seed(0)
    module = Conv4((1, 8, 8), 3, width=4, depth=2)
    params = {n: p.detach() for n, p in module.named_parameters()}
    rule = bmp(0.1)
    meta = rule.meta(params)
    assert meta["last.bias"].shape == (6,)  # weight and bias of two convolutions and the head
    meta["last.bias"] = torch.tensor([1.0, -1, 1, -1, -1, 1])
    new, _ = rule.update(
        meta, params, {n: torch.ones_like(p) for n, p in params.items()}, {}, torch.tensor(0)
    )
    still = {n for n, p in params.items() if torch.equal(new[n], p)}
    assert still == {"blocks.0.conv.bias", "blocks.1.conv.bias", "head.weight"}


def test_bmp_passes_the_gradient_straight_through() -> None:
    """dL/dvote = -lr <g, dL/dtheta'>, whether the vote is positive or not."""
    rule, lr = bmp(0.1), 0.1
    params = {n: torch.randn(2, 3, dtype=torch.float64) for n in "ab"}
    grads = {n: torch.randn_like(p) for n, p in params.items()}
    meta = {n: t.double() for n, t in rule.meta(params).items()}
    meta["last.bias"] = torch.tensor([1.0, -1.0], dtype=torch.float64).requires_grad_()
    new, _ = rule.update(meta, params, grads, {}, torch.tensor(0))
    weights = {n: torch.randn_like(p) for n, p in params.items()}
    loss = sum((new[n] * weights[n]).sum() for n in params)
    found = torch.autograd.grad(loss, meta["last.bias"])[0]
    wanted = torch.stack([-lr * (grads[n] * weights[n]).sum() for n in params])
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)


def test_bmp_needs_something_to_decide_about() -> None:
    with pytest.raises(UnsupportedError, match="adapt more than norms"):
        smooth(rule=bmp(), patterns=("*.bias",))


def test_reptile_points_along_the_sum_of_its_gradients() -> None:
    learner, params, meta, task = smooth(4)
    whole = Task(*(torch.cat(pair) for pair in zip(task[:2], task[2:], strict=True)), *task[2:])
    path = learner.path(params, meta, {}, whole.support_x, whole.support_y, 4)
    walked = [learner.gradients(p, whole.support_x, whole.support_y) for p in path[:-1]]
    total = {n: sum(g[n] for g in walked) for n in params}
    found = reptile(learner, params, meta, {}, task).params
    # All samples in another order: the same up to rounding.
    assert gap({n: t / RATE for n, t in found.items()}, total) < 1e-12


def test_reptile_takes_its_samples_in_turn() -> None:
    learner, params, meta, task = smooth(3)
    seen: list[torch.Tensor] = []
    object.__setattr__(learner, "gradients", lambda p, x, y: seen.append(x) or p)
    reptile(learner, params, meta, {}, task, batch=7)
    rows = {tuple(row.tolist()) for x in seen for row in x}
    assert [len(x) for x in seen] == [7, 7, 7]
    assert len(rows) == 15  # all of 6 + 9, then from the front again


def test_one_step_of_reptile_is_joint_training() -> None:
    learner, params, meta, task = smooth(1)
    x, y = (torch.cat(pair) for pair in zip(task[:2], task[2:], strict=True))
    found = reptile(learner, params, meta, {}, task)
    assert gap({n: t / RATE for n, t in found.params.items()}, learner.gradients(params, x, y)) < 1e-12
    assert not any(t.any() for t in found.meta.values())


@pytest.mark.parametrize("chosen", [first_order, second_order])
def test_the_loss_along_the_steps_is_a_weighted_sum(chosen: Any) -> None:
    learner, params, meta, task = smooth(3)
    shares = (0.5, 0.2, 0.3)
    out = chosen(learner, params, meta, {}, task, shares=shares)
    each = [chosen(replaced(learner, k + 1), params, meta, {}, task).params for k in range(3)]
    total = {n: sum(share * each[k][n] for k, share in enumerate(shares)) for n in params}
    assert gap(out.params, total) < 1e-12
    alone = chosen(learner, params, meta, {}, task, shares=(0.0, 0.0, 1.0))
    assert gap(alone.params, each[-1]) < 1e-12


def replaced(learner: Any, steps: int) -> Any:
    from dataclasses import replace

    return replace(learner, steps=steps)


def test_the_shares_fade_to_the_last_step() -> None:
    assert step_shares(4, 10, 0) == (0.25, 0.25, 0.25, 0.25)
    assert step_shares(4, 10, 5) == (0.125, 0.125, 0.125, 0.625)
    assert step_shares(4, 10, 10) == ()
    assert step_shares(4, 0, 0) == ()


def test_a_strategy_may_train_with_other_steps_than_the_device_takes() -> None:
    learner, params, meta, task = smooth(1)
    more = strategy("second_order", steps=3)(learner, params, meta, {}, task)
    wanted = second_order(smooth(3)[0], params, meta, {}, task)
    assert gap(more.params, wanted.params) == 0


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("reptile", {"shared": True}, "does not look at the query loss"),
        ("reptile", {"args": {"batches": 3}}, "expected arguments: batch"),
        ("second_order", {"args": {"batch": 3}}, "expected arguments: none"),
    ],
)
def test_what_a_strategy_cannot_take_is_said(name: str, options: Any, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        strategy(name, **options)


def test_pamela_refuses_what_it_cannot_be() -> None:
    with pytest.raises(UnsupportedError, match="w 0"):
        rules.build("regrow_trainer.rules.pamela:pamela", {"w": 0})


def test_anil_is_maml_with_the_body_frozen_out_of_the_inner_loop() -> None:
    learner, params, meta, task = smooth(3, ("@head",))
    assert learner.adaptable == ("head.weight", "head.bias")
    adapted = learner.adapt(params, meta, {}, task.support_x, task.support_y, 3)
    assert all(torch.equal(adapted[n], p) for n, p in params.items() if n.startswith("hidden"))
    head = {n: p for n, p in params.items() if n.startswith("head")}
    features = [torch.tanh(torch.nn.functional.linear(x, *list(params.values())[:2])) for x in task[::2]]
    module = torch.nn.Linear(6, 3).double()
    alone = smooth(3, make=lambda: module)[0]
    inner = Task(features[0], task.support_y, features[1], task.query_y)
    at = {n.removeprefix("head."): p for n, p in head.items()}
    wanted = second_order(alone, at, meta, {}, inner).params
    found = second_order(learner, params, meta, {}, task).params
    assert gap({n: found[f"head.{n}"] for n in wanted}, wanted) < 1e-12
    assert float(found["hidden.weight"].norm()) > 0
    assert isinstance(learner.module, Tanh)
