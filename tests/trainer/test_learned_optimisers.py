"""Learned optimisers against what defines them: formulas, rules they contain, permutations, differences."""

import math
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from regrow.episodes.draws import Draws
from regrow.errors import UnsupportedError
from regrow_trainer import rules
from regrow_trainer.rules import Rule
from regrow_trainer.rules.coordinates import flat, lstm, lstm_meta, readable, unflat
from regrow_trainer.rules.dmsgd import dmsgd, m2sgd
from regrow_trainer.rules.lstm import lstm_optimiser
from regrow_trainer.rules.meta_sgd import meta_sgd
from regrow_trainer.strategies.second_order import second_order
from regrow_trainer.strategies.unrolled import Unrolled, Walk, weights, windows
from tests.trainer.smooth import RATE, gap, outer, smooth

FORMS = ("global", "coordinate")
LEARNED: dict[str, Rule] = {
    "lstm_optimiser": lstm_optimiser(4, scale=0.3),
    "dmsgd, global": dmsgd(0.2, "global", 4),
    "dmsgd, coordinate": dmsgd(0.2, "coordinate", 4),
    "m2sgd, global": m2sgd(0.1, 0.2, "global", 4),
}


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}


SHAPES = {"a": (4, 3), "b": (4,), "c": (2, 4)}


def made(rule: Rule, params: dict[str, Any], nudge: float = 0.3) -> dict[str, Any]:
    """The rule's tensors in double precision, away from where they begin."""
    noise = torch.Generator().manual_seed(1)
    return {
        n: t.double() + nudge * torch.randn(t.shape, generator=noise, dtype=torch.float64)
        for n, t in rule.meta(params).items()
    }


def walk(rule: Rule, meta: dict[str, Any], params: dict[str, Any], steps: int = 3) -> Any:
    """Parameters and state after some steps along gradients that are drawn."""
    state = rule.init(meta, params)
    for step in range(steps):
        grads = drawn({n: tuple(p.shape) for n, p in params.items()}, 10 + step)
        params, state = rule.update(meta, params, grads, state, torch.tensor(step))
    return params, state


def test_a_gradient_is_read_as_the_paper_says_and_has_no_edge() -> None:
    p, edge = 10.0, math.exp(-10)
    sizes = [0.0, 1e-9, edge * (1 - 1e-9), edge, edge * (1 + 1e-9), 1e-3, 1.0, 50.0]
    g = torch.tensor([s * sign for s in sizes for sign in (1, -1)], dtype=torch.float64)
    far = torch.stack([g.abs().log() / p, g.sign()], -1)
    near = torch.stack([-torch.ones_like(g), math.exp(p) * g], -1)
    wanted = torch.where((g.abs() >= edge)[:, None], far, near)
    torch.testing.assert_close(readable(g, p), wanted, rtol=1e-12, atol=1e-12)
    below, above = readable(torch.tensor([edge * (1 - 1e-9), edge * (1 + 1e-9)], dtype=torch.float64), p)
    assert float((below - above).abs().max()) < 1e-8


def test_the_lstm_is_torchs_own() -> None:
    generator = torch.Generator().manual_seed(0)
    meta = lstm_meta("l", 3, 5, generator)
    cell = torch.nn.LSTMCell(3, 5)
    with torch.no_grad():
        for name, part in (("weight_ih", "into"), ("weight_hh", "again"), ("bias_ih", "bias")):
            getattr(cell, name).copy_(meta[f"l.{part}"])
        cell.bias_hh.zero_()
    x, h, c = torch.randn(7, 3), torch.randn(7, 5), torch.randn(7, 5)
    for found, wanted in zip(lstm(meta, "l", x, h, c), cell(x, (h, c)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_flat_and_back() -> None:
    params = drawn(SHAPES)
    assert all(torch.equal(t, params[n]) for n, t in unflat(flat(params), params).items())


def test_the_published_numbers_of_weights() -> None:
    mlp = drawn({"w": (32, 784), "b": (32,), "v": (10, 32), "c": (10,)})
    size = 25_450
    count = {n: sum(t.numel() for t in rule.meta(mlp).values()) for n, rule in both_forms().items()}
    assert sum(t.numel() for t in lstm_optimiser().meta(mlp).values()) == 5141
    # 42 n + 3386 as published, where every gate has a second bias that is only added to the first.
    assert count["global"] == 42 * size + 3386 - 80
    assert count["coordinate"] == size + 80 * (2 + 20 + 1) + 20


def both_forms() -> dict[str, Rule]:
    return {form: dmsgd(form=form) for form in FORMS}  # type: ignore[arg-type]


def test_half_of_all_rates_are_zero_before_the_global_form_is_trained() -> None:
    params = drawn({"w": (32, 784), "v": (10, 32)})
    for seed in range(3):
        rule = dmsgd(seed=seed)
        meta = {n: t.double() for n, t in rule.meta(params).items()}
        assert rule.freeze is not None
        rates, _ = rule.freeze(walk(rule, meta, params, 5)[1])
        assert 0.45 < float((flat(rates) == 0).double().mean()) < 0.55


def test_a_silent_output_moves_nothing() -> None:
    rule, params = lstm_optimiser(), drawn(SHAPES)
    meta = made(rule, params) | {n: torch.zeros_like(t) for n, t in rule.meta(params).items() if "out" in n}
    meta = {n: t.double() for n, t in meta.items()}
    assert all(torch.equal(p, params[n]) for n, p in walk(rule, meta, params)[0].items())


@pytest.mark.parametrize("rule", [lstm_optimiser(4, 0.3), dmsgd(0.1, "coordinate", 4)])
def test_coordinates_in_another_order_do_the_same_in_that_order(rule: Rule) -> None:
    params = drawn({"a": (12,)})
    meta = made(rule, params)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    turned = {n: t[order] if n == "rate.a" else t for n, t in meta.items()}
    there, back = params, {"a": params["a"][order]}
    one, two = rule.init(meta, there), rule.init(turned, back)
    for step in range(4):
        grads = drawn({"a": (12,)}, step)
        there, one = rule.update(meta, there, grads, one, torch.tensor(step))
        back, two = rule.update(turned, back, {"a": grads["a"][order]}, two, torch.tensor(step))
    torch.testing.assert_close(back["a"], there["a"][order], rtol=1e-13, atol=1e-13)
    assert not torch.equal(there["a"], params["a"])


@pytest.mark.parametrize("form", FORMS)
def test_without_its_lstm_dmsgd_is_meta_sgd_with_what_is_positive_of_its_rates(form: Any) -> None:
    params, plain = drawn(SHAPES), meta_sgd()
    rule = dmsgd(0.1, form, gamma=0.0)
    meta = made(rule, params)
    rates = {n: torch.relu(t) for n, t in meta.items() if n.startswith("rate.")}
    assert any((t == 0).any() for t in rates.values())
    found, _ = walk(rule, meta, params)
    wanted, _ = walk(plain, rates, params)
    assert all(torch.equal(p, wanted[n]) for n, p in found.items())


def test_the_coordinate_form_begins_as_gradient_descent_bit_for_bit() -> None:
    learner, params, meta, task = smooth(4, rule=dmsgd(RATE, "coordinate"))
    plain, _, lr, _ = smooth(4)
    found = learner.adapt(params, meta, {}, task.support_x, task.support_y, 4)
    wanted = plain.adapt(params, lr, {}, task.support_x, task.support_y, 4)
    assert all(torch.equal(p, wanted[n]) for n, p in found.items())


@pytest.mark.parametrize("form", FORMS)
def test_rates_stay_within_one_of_the_static_ones_and_a_rate_of_zero_moves_no_bit(form: Any) -> None:
    params, rule = drawn(SHAPES), dmsgd(0.1, form)
    meta = made(rule, params, 0.6)
    new, state = walk(rule, meta, params, 1)
    assert rule.freeze is not None
    rates, masks = rule.freeze(state)
    assert masks == {}
    for n, rate in rates.items():
        assert bool((rate >= 0).all())
        assert bool((rate <= torch.clamp(meta[f"rate.{n}"] + 1, min=0)).all())
        assert torch.equal(new[n][rate == 0], params[n][rate == 0])
        assert bool((new[n][rate > 0] != params[n][rate > 0]).all())
    assert 0 < int((flat(rates) == 0).sum()) < flat(rates).numel()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("xi", [0.0, 0.25])
def test_m2sgd_removes_exactly_the_weights_that_are_not_updated(form: Any, xi: float) -> None:
    params = drawn(SHAPES)
    plain, rule = dmsgd(0.1, form), m2sgd(xi, 0.1, form)
    meta = made(plain, params, 0.6)
    moved, after = walk(plain, meta, params, 1)
    masked, state = walk(rule, meta, params, 1)
    assert rule.freeze is not None
    assert plain.freeze is not None
    rates, kept = rule.freeze(state)
    for n, new in masked.items():
        assert torch.equal(rates[n], plain.freeze(after)[0][n])
        assert torch.equal(kept[n], rates[n] > xi)
        assert torch.equal(new, torch.where(rates[n] > xi, moved[n], 0.0))
    if xi == 0:
        for n, new in masked.items():
            assert torch.equal(new == 0, moved[n] == params[n])
    assert 0 < int((flat(masked) == 0).sum()) < flat(masked).numel()


def test_m2sgd_that_removes_nothing_is_dmsgd_and_without_its_lstm_it_is_masked_meta_sgd() -> None:
    params = drawn(SHAPES)
    meta = made(dmsgd(0.1), params, 0.6)
    found, _ = walk(m2sgd(-math.inf, 0.1), meta, params)
    wanted, _ = walk(dmsgd(0.1), meta, params)
    assert all(torch.equal(p, wanted[n]) for n, p in found.items())
    still, _ = walk(m2sgd(0.0, 0.1, gamma=0.0), meta, params)
    rates = {n: t for n, t in meta.items() if n.startswith("rate.")}
    steps, _ = walk(meta_sgd(), rates, params)
    for n, p in still.items():
        assert torch.equal(p, torch.where(meta[f"rate.{n}"] > 0, steps[n], 0.0))


def agrees(grads: Any, f: Any, at: Any, h: float = 3e-7) -> bool:
    """Whether a gradient is the slope of f, tensor by tensor, each along a direction that is drawn."""
    for i, (n, value) in enumerate(at.items()):
        way = drawn({n: tuple(value.shape)}, i)[n]
        slope = (f({**at, n: value + h * way}) - f({**at, n: value - h * way})) / (2 * h)
        told = float((grads[n] * way).sum())
        if abs(slope - told) > 1e-6 * abs(told) + 2e-8:
            return False
    return any(bool((g != 0).any()) for g in grads.values())


@pytest.mark.parametrize("name", LEARNED)
def test_the_meta_gradient_through_few_shot_steps_is_that_of_differences(name: str) -> None:
    learner, params, meta, task = smooth(3, rule=LEARNED[name])
    meta = {n: t + 0.05 * torch.randn_like(t) for n, t in meta.items()}
    out = second_order(learner, params, meta, {}, task)
    assert agrees(out.meta, lambda m: outer(learner, params, m, task), meta)
    assert agrees(out.params, lambda p: outer(learner, p, meta, task), params)


@pytest.mark.parametrize("scale", [0.0, 1.0])
@pytest.mark.parametrize("name", LEARNED)
def test_the_gradient_of_a_window_is_that_of_differences_with_the_inner_gradients_fixed(
    name: str, scale: float
) -> None:
    learner, params, meta, task = smooth(rule=LEARNED[name])
    meta = {n: t + 0.05 * torch.randn_like(t) for n, t in meta.items()}
    chosen = Unrolled(window=3, scale=scale, masked=True)
    at = chosen.begin(learner, params, meta, Draws("test", 0))
    _, at = chosen.advance(learner, meta, {}, task, at, 0, 3)
    out, _ = chosen.advance(learner, meta, {}, task, at, 3, 3)
    before = [chosen.advance(learner, meta, {}, task, at, 3, steps)[1] if steps else at for steps in range(3)]
    fixed = [learner.gradients(weights(w), task.support_x, task.support_y) for w in before]

    def losses(meta: Any) -> float:
        turn, told = iter(fixed), replace(learner)
        object.__setattr__(told, "gradients", lambda *given: next(turn))
        return float(chosen.advance(told, meta, {}, task, at, 3, 3)[0].loss)

    assert agrees(out.meta, losses, meta)


def test_a_window_knows_nothing_of_the_one_before_it() -> None:
    learner, params, meta, task = smooth(rule=LEARNED["dmsgd, global"])
    chosen = Unrolled(window=2)
    start = chosen.begin(learner, params, meta, Draws("test", 0))
    whole, end = chosen.advance(learner, meta, {}, task, start, 0, 4)
    first, middle = chosen.advance(learner, meta, {}, task, start, 0, 2)
    second, same = chosen.advance(learner, meta, {}, task, middle, 2, 2)
    # The way is the same, the gradient is not: it stops at the window's border.
    assert all(torch.equal(p, same.params[n]) for n, p in end.params.items())
    halves = {n: (first.meta[n] + second.meta[n]) / 2 for n in meta}
    assert gap(halves, whole.meta) > 1e-3
    copied = Walk(*({n: t.clone() for n, t in part.items()} for part in middle))
    again, _ = chosen.advance(learner, meta, {}, task, copied, 2, 2)
    assert all(torch.equal(g, again.meta[n]) for n, g in second.meta.items())


def test_a_scaled_start_is_the_same_network_and_the_rule_sees_scaled_gradients() -> None:
    learner, params, meta, task = smooth()
    chosen = Unrolled(scale=1.5)
    at = chosen.begin(learner, params, meta, Draws("test", 0))
    assert gap(weights(at), params) < 1e-14
    assert gap(at.params, params) > 0.1
    _, after = chosen.advance(learner, meta, {}, task, at, 0, 1)
    grads = learner.gradients(params, task.support_x, task.support_y)
    wanted = {n: p - RATE * at.scale[n] ** 2 * grads[n] for n, p in params.items()}
    assert gap(weights(after), wanted) < 1e-12


def test_trajectories_train_without_the_mask_unless_it_is_asked_for() -> None:
    learner, params, meta, task = smooth(rule=m2sgd(0.3, 0.1))
    ends = []
    for masked in (False, True):
        chosen = Unrolled(masked=masked)
        at = chosen.begin(learner, params, meta, Draws("test", 0))
        ends.append(flat(chosen.advance(learner, meta, {}, task, at, 0, 2)[1].params))
    assert not bool((ends[0] == 0).any())
    assert bool((ends[1] == 0).any())


def test_windows_cover_a_trajectory_once() -> None:
    for steps, window in ((12, 5), (5, 5), (3, 7)):
        covered = [first + i for first, length in windows(steps, window) for i in range(length)]
        assert covered == list(range(steps))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="form 'local'"):
        rules.build(rules.RULES["m2sgd"], {"form": "local"})
    with pytest.raises(UnsupportedError, match="window 0"):
        Unrolled(window=0)
    with pytest.raises(UnsupportedError, match="another pruner"):
        Unrolled()(*smooth())
