"""A learner of many tasks gives every task what a learner of one gives it, for every rule and strategy."""

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.backbones.supermask import supermask
from regrow_trainer.batching import Workers
from regrow_trainer.device import put
from regrow_trainer.learner import Learner, Task, initial_params, make_learner
from regrow_trainer.many import Many
from regrow_trainer.rules import Rule
from regrow_trainer.rules.adam import adam
from regrow_trainer.rules.bmp import bmp
from regrow_trainer.rules.meta_sgd import meta_sgd
from regrow_trainer.rules.momentum import momentum
from regrow_trainer.rules.pamela import pamela
from regrow_trainer.rules.sgd import sgd
from regrow_trainer.rules.step_rates import step_rates
from regrow_trainer.strategies import STRATEGIES, strategy, takes_many
from tests.trainer.smooth import gap

RULES: dict[str, Rule] = {
    "sgd": sgd(0.1),
    "meta_sgd": meta_sgd(0.1),
    "step_rates": step_rates(0.1, 2),
    "pamela": pamela(0.1, 2, 1),
    "bmp": bmp(0.1),
    "adam": adam(0.01),
    "momentum": momentum(0.1),
}
NAMES = [name for name in STRATEGIES if takes_many(strategy(name))]
TASKS = 3


def conv(patterns: tuple[str, ...] = ("*",), rule: Rule = RULES["sgd"], policy: Any = "support") -> Learner:
    torch.manual_seed(0)
    return made(Conv4((1, 8, 8), 3, width=4, depth=2, downsample="stride"), patterns, rule, policy)


def made(module: Any, patterns: tuple[str, ...], rule: Rule, policy: Any = "support") -> Learner:
    return make_learner(module.double(), rule, patterns, 2, "cross_entropy", policy)


def tasks() -> Task:
    torch.manual_seed(1)
    x, q = (torch.randn(TASKS, n, 1, 8, 8, dtype=torch.float64) for n in (6, 9))
    return Task(x, torch.arange(6).expand(TASKS, -1) % 3, q, torch.arange(9).expand(TASKS, -1) % 3)


def both(learner: Learner, name: str, masks: Any = None, **options: Any) -> list[Any]:
    """What a strategy makes of all tasks at once, and of one after the other."""
    params = initial_params(learner.module)
    adaptable = {n: params[n] for n in learner.adaptable}
    meta = {n: t.double() for n, t in learner.rule.meta(adaptable).items()}
    chosen, batch, many = strategy(name), tasks(), Many.of(learner, TASKS)
    single = [
        chosen(learner, params, meta, masks or {}, Task(*t), **options) for t in zip(*batch, strict=True)
    ]
    alone = torch.utils._pytree.tree_map(lambda *t: torch.stack(t), *single)
    return [chosen(many, many.spread(params), many.spread(meta), masks or {}, batch, **options), alone]


def check(found: Any, wanted: Any) -> None:
    assert gap(found.params, wanted.params) < 1e-10
    if wanted.meta and any(t.any() for t in wanted.meta.values()):
        assert gap(found.meta, wanted.meta) < 1e-10
    torch.testing.assert_close(found.loss, wanted.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.accuracy, wanted.accuracy)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule(rule: str) -> None:
    check(*both(conv(rule=RULES[rule]), "second_order"))


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy(name: str) -> None:
    check(*both(conv(), name))


@pytest.mark.parametrize("name", ["first_order", "second_order"])
def test_a_head_alone_and_losses_along_the_way(name: str) -> None:
    check(*both(conv(("@head",)), name, shares=(0.4, 0.6)))


@pytest.mark.parametrize("policy", ["transductive", "none"])
def test_other_statistics(policy: Any) -> None:
    check(*both(conv(policy=policy), "second_order"))


def test_the_strategies_of_the_papers_take_many() -> None:
    assert NAMES == ["first_order", "plain", "reptile", "second_order"]


def test_masks_are_shared() -> None:
    masks = {"blocks.1.conv.weight": torch.rand(4, 4, 3, 3) > 0.5}
    check(*both(conv(), "second_order", masks))


def test_a_supermask() -> None:
    torch.manual_seed(0)
    module = supermask((1, 8, 8), 3, args={"width": 4, "depth": 2, "downsample": "pool"})
    check(*both(made(module, ("*",), RULES["sgd"]), "second_order"))


def test_the_second_derivative_is_there() -> None:
    """Were it lost, first and second order would agree."""
    first, second = (both(conv(), name)[0] for name in ("first_order", "second_order"))
    assert gap(first.params, second.params) > 1e-3


@pytest.mark.parametrize("name", ["first_order", "second_order"])
def test_a_rule_that_learns_nothing_is_asked_nothing(name: str) -> None:
    still = both(replace(conv(rule=RULES["meta_sgd"]), rule_learns=False), name)
    check(*still)
    learning = both(conv(rule=RULES["meta_sgd"]), name)[0]
    assert gap(still[0].params, learning.params) < 1e-12
    assert not any(t.any() for made in still for t in made.meta.values())
    assert any(t.any() for t in learning.meta.values())


def test_nothing_remains_attached_to_the_graph() -> None:
    found = both(conv(), "second_order")[0]
    assert not any(t.requires_grad for t in (*found.params.values(), found.loss, found.accuracy))


def test_workers_reach_the_same_mean_however_they_batch() -> None:
    learner = conv()
    params, chosen, means = initial_params(learner.module), strategy("second_order"), []
    meta = learner.rule.meta(params)

    def estimate(one: Learner, task: Task) -> Any:
        return chosen(one, one.spread(params), one.spread(meta), {}, task)

    for how, many in (("auto", True), ("auto", False), ("loop", True)):
        with Workers(learner, how, 2, chunk=2) as pool:
            means.append(pool.mean(estimate, tasks(), many=many).params)
    assert gap(means[0], means[1]) < 1e-10
    assert gap(means[0], means[2]) < 1e-10


def low(learner: Learner) -> Learner:
    return replace(learner, compute=torch.bfloat16)


def single_precision(learner: Learner) -> list[Any]:
    """Outcomes of the same tasks, the network in fp32 and in bf16."""
    params, batch = initial_params(learner.module.float()), tasks()
    batch = Task(*(t.float() if t.is_floating_point() else t for t in batch))
    made = []
    for chosen in (learner, low(learner)):
        many = Many.of(chosen, TASKS)
        meta = many.spread(learner.rule.meta({n: params[n] for n in learner.adaptable}))
        made.append(strategy("second_order")(many, many.spread(params), meta, {}, batch))
    return made


def test_in_half_of_the_bits_the_direction_stays() -> None:
    """At no rate; every step of adaptation multiplies what rounding did, see the decisions."""
    exact, rough = single_precision(conv(rule=sgd(1e-6)))
    assert 1e-6 < gap(rough.params, exact.params) < 0.15
    flat = [torch.cat([t.flatten() for t in made.params.values()]) for made in (exact, rough)]
    assert float(torch.cosine_similarity(*flat, dim=0)) > 0.99


def test_in_half_of_the_bits_weights_and_updates_keep_all_of_theirs() -> None:
    _, rough = single_precision(conv())
    assert {t.dtype for t in rough.params.values()} == {torch.float32}
    assert rough.loss.dtype == torch.float32


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_computed_where_the_tensors_are_not(name: str, rule: str) -> None:
    """On a device that holds no values, an operand made elsewhere by mistake is refused."""
    learner, where = conv(rule=RULES[rule]), torch.device("meta")
    params = initial_params(learner.module.float())
    meta = learner.rule.meta(params)
    many, batch = Many.of(learner.replica(where), TASKS), put(tasks(), where)
    batch = Task(*(t.float() if t.is_floating_point() else t for t in batch))
    own, rates = many.spread(put(params, where)), many.spread(put(meta, where))
    made = strategy(name)(many, own, rates, {}, batch)
    assert {t.device.type for t in (*made.params.values(), *made.meta.values(), made.loss)} == {"meta"}
