"""Meta-gradients against finite differences and against each other."""

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import Tensor
from torch.nn import functional as F

from regrow.errors import UnsupportedError
from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.batching import Workers
from regrow_trainer.learner import Learner, Task, initial_params, make_learner
from regrow_trainer.rules.sgd import sgd
from regrow_trainer.strategies import strategy
from regrow_trainer.tensors import Tensors
from tests.trainer.smooth import differences, gap, outer, smooth

first_order, second_order = strategy("first_order"), strategy("second_order")


def test_maml_equals_finite_differences() -> None:
    learner, params, meta, task = smooth()
    out = second_order(learner, params, meta, {}, task)
    assert gap(out.params, differences(lambda p: outer(learner, p, meta, task), params)) < 1e-7
    assert gap(out.meta, differences(lambda m: outer(learner, params, m, task), meta)) < 1e-7


def test_maml_respects_masks_and_the_adaptable_set() -> None:
    learner, params, meta, task = smooth(patterns=("head.*",))
    masks = {"head.weight": torch.rand(3, 6) > 0.5}

    def loss(p: Tensors) -> float:
        adapted = learner.adapt(p, meta, masks, task.support_x, task.support_y, 3)
        assert torch.equal(adapted["hidden.weight"], p["hidden.weight"])
        assert torch.equal(
            adapted["head.weight"][~masks["head.weight"]], p["head.weight"][~masks["head.weight"]]
        )
        return float(learner.query_scores(adapted, task).loss)

    assert gap(second_order(learner, params, meta, masks, task).params, differences(loss, params)) < 1e-7


@pytest.mark.parametrize("patterns", [("*",), ("head.*",)], ids=["FOMAML", "FOANIL"])
def test_first_order_is_second_order_with_detached_inner_gradients(patterns: tuple[str, ...]) -> None:
    learner, params, meta, task = smooth(patterns=patterns)
    leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
    moved = leaves
    for _ in range(3):
        loss = learner.support_loss(moved, task.support_x, task.support_y)
        names = learner.adaptable
        grads = torch.autograd.grad(loss, [moved[n] for n in names])
        new = {n: moved[n] - meta["lr"] * g.detach() for n, g in zip(names, grads, strict=True)}
        moved = {**moved, **new}
    loss = F.cross_entropy(learner.outputs(moved, task.query_x), task.query_y)
    expected = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    out = first_order(learner, params, meta, {}, task)
    assert all(torch.equal(out.params[n], g) for n, g in expected.items())


def test_plain_training_adapts_nothing() -> None:
    learner, params, meta, task = smooth()
    out = strategy("plain")(learner, params, meta, {}, task)
    expected = differences(lambda p: float(learner.query_scores(p, task).loss), params)
    assert gap(out.params, expected) < 1e-7
    assert all(not t.any() for t in out.meta.values())


def test_fomaml_tends_to_maml_as_the_rate_vanishes() -> None:
    learner, params, _, task = smooth()
    gaps = []
    for lr in (0.03, 0.003):
        meta = {"lr": torch.tensor(lr, dtype=torch.float64)}
        outs = [s(learner, params, meta, {}, task).params for s in (first_order, second_order)]
        gaps.append(gap(*outs))
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("chosen", [first_order, second_order])
def test_without_steps_it_is_plain_training(chosen: Any) -> None:
    learner, params, meta, task = smooth(steps=0)
    leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
    loss = F.cross_entropy(learner.outputs(leaves, task.query_x), task.query_y)
    expected = torch.autograd.grad(loss, list(leaves.values()))
    out = chosen(learner, params, meta, {}, task)
    assert all(torch.equal(out.params[n], g) for n, g in zip(leaves, expected, strict=True))


def test_permuting_labels_and_head_rows_changes_nothing() -> None:
    learner, params, meta, task = smooth()
    order = torch.tensor([2, 0, 1])
    place = torch.argsort(order)
    moved = {**params, "head.weight": params["head.weight"][order], "head.bias": params["head.bias"][order]}
    relabelled = task._replace(support_y=place[task.support_y], query_y=place[task.query_y])
    a = second_order(learner, params, meta, {}, task)
    b = second_order(learner, moved, meta, {}, relabelled)
    assert float((a.loss - b.loss).abs()) < 1e-12
    assert float((a.params["head.weight"][order] - b.params["head.weight"]).abs().max()) < 1e-12


def conv_batch(tasks: int = 5) -> tuple[Learner, Tensors, Tensors, Task]:
    torch.manual_seed(0)
    module = Conv4((1, 12, 12), 3, width=5, depth=2, downsample="stride")
    learner = make_learner(module, sgd(0.1), ("*",), 2, "cross_entropy", "support")
    params = initial_params(module)
    y = torch.stack([torch.randperm(3) for _ in range(tasks)])
    x = torch.rand(tasks, 3, 1, 12, 12), torch.rand(tasks, 6, 1, 12, 12)
    return learner, params, learner.rule.meta(params), Task(x[0], y, x[1], y.repeat(1, 2))


@pytest.mark.parametrize("chosen", [first_order, second_order])
@pytest.mark.parametrize("masked", [False, True])
def test_vmap_and_loop_agree(chosen: Any, masked: bool) -> None:
    learner, params, meta, tasks = conv_batch()
    name = "blocks.1.conv.weight"
    masks = {name: torch.rand_like(params[name]) > 0.8} if masked else {}
    params = {n: p.masked_fill(~masks[n], 0) if n in masks else p for n, p in params.items()}
    outs = []
    for batching in ("vmap", "loop"):
        with Workers(learner, batching, 1) as pool:
            outs.append(pool.mean(lambda one, task: chosen(one, params, meta, masks, task), tasks))
    # Grouped and plain convolutions add in different orders: fp32 accuracy, not equality.
    assert gap(outs[0].params, outs[1].params) < 1e-5
    assert float(outs[0].loss) == pytest.approx(float(outs[1].loss), rel=1e-5)


def test_the_number_of_workers_changes_no_bit() -> None:
    learner, params, meta, tasks = conv_batch(tasks=17)
    outs = []
    for count in (1, 3):
        with Workers(learner, "auto", count) as pool:
            outs.append(pool.mean(lambda one, task: first_order(one, params, meta, {}, task), tasks))
    assert all(torch.equal(outs[0].params[n], outs[1].params[n]) for n in params)


def test_adapting_to_one_task_leaves_nothing_for_the_next() -> None:
    learner, params, meta, tasks = conv_batch(tasks=2)
    a, b = (Task(*(t[i] for t in tasks)) for i in range(2))
    alone = learner.adapt(params, meta, {}, b.support_x, b.support_y, 2)
    learner.adapt(params, meta, {}, a.support_x, a.support_y, 2)
    after = learner.adapt(params, meta, {}, b.support_x, b.support_y, 2)
    assert all(torch.equal(alone[n], after[n]) for n in params)
    assert all(torch.equal(p, params[n]) for n, p in initial_params(learner.module).items())


def test_a_pruned_weight_does_not_move_even_where_its_gradient_is_infinite() -> None:
    learner, params, meta, _ = smooth(steps=1)
    masks = {"hidden.weight": torch.zeros(6, 4, dtype=torch.bool)}
    params["hidden.weight"].zero_()
    grads = {n: torch.full_like(p, torch.inf) for n, p in params.items()}
    moved, _ = learner.apply(params, meta, masks, grads, {}, 0)
    assert torch.equal(moved["hidden.weight"], torch.zeros(6, 4, dtype=torch.float64))


def test_a_rule_may_carry_state_from_step_to_step() -> None:
    learner, params, meta, task = smooth(steps=2)

    def update(meta: Tensors, params: Tensors, grads: Tensors, state: Tensors, step: Tensor) -> Any:
        state = {n: 0.5 * state[n] + g for n, g in grads.items()}
        return {n: p - meta["lr"] * state[n] for n, p in params.items()}, state

    rule = learner.rule._replace(
        init=lambda _, p: {n: torch.zeros_like(t) for n, t in p.items()}, update=update
    )
    heavy = replace(learner, rule=rule)
    expected = differences(lambda p: outer(heavy, p, meta, task), params)
    assert gap(second_order(heavy, params, meta, {}, task).params, expected) < 1e-7
    assert outer(heavy, params, meta, task) != outer(learner, params, meta, task)


def test_an_unknown_strategy_names_the_nearest() -> None:
    with pytest.raises(UnsupportedError, match="did you mean 'second_order'"):
        strategy("second-order")
