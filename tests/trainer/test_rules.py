"""Rules that carry state: torch's own optimisers, and gradients through them."""

import pytest

torch = pytest.importorskip("torch")

from regrow_trainer import rules
from regrow_trainer.rules import RULES
from regrow_trainer.rules.adam import adam
from regrow_trainer.rules.momentum import momentum

START = {"a": [0.3, -1.0, 2.0], "b": [[1.5], [-0.5]]}


def slopes(params, step):
    """Gradients of some bowl whose bottom moves."""
    return {n: 2 * (p - 0.3 * step) * (p.detach().abs() + 0.1) for n, p in params.items()}


@pytest.mark.parametrize(
    ("rule", "make", "args"),
    [
        (momentum(0.1, 0.8, 0.05), torch.optim.SGD, {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.05}),
        (
            momentum(0.1, nesterov=True),
            torch.optim.SGD,
            {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        ),
        (adam(0.1, 0.8, 0.95, 1e-6), torch.optim.Adam, {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}),
    ],
)
def test_the_rule_is_torchs_optimiser(rule, make, args):
    params = {n: torch.tensor(v, dtype=torch.float64) for n, v in START.items()}
    twins = {n: torch.nn.Parameter(p.clone()) for n, p in params.items()}
    optimiser = make(twins.values(), **args)
    meta = {n: t.double() for n, t in rule.meta(params).items()}
    meta["lr"].fill_(0.1)
    state = rule.init(meta, params)
    for step in range(6):
        for name, slope in slopes(twins, step).items():
            twins[name].grad = slope.detach()
        optimiser.step()
        params, state = rule.update(meta, params, slopes(params, step), state, torch.tensor(step))
    for name, param in params.items():
        torch.testing.assert_close(param, twins[name].detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_of_the_table_differentiates_through_a_gradient_of_zero(name):
    rule = rules.build(RULES[name], {})
    torch.manual_seed(0)
    start = {n: torch.tensor([[1.0], [0.0]], requires_grad=True) for n in ("w", "v")}
    # Nudged: what begins at zero hides what comes before it.
    meta = {n: (t + 0.2 * torch.rand_like(t)).requires_grad_() for n, t in rule.meta(start).items()}
    params, state = start, rule.init(meta, start)
    for step in range(3):
        squares = {n: p**2 for n, p in params.items()}
        params, state = rule.update(meta, params, squares, state, torch.tensor(step))
    total = sum(p.sum() for p in params.values())
    grads = torch.autograd.grad(total, [*start.values(), *meta.values()])
    assert all(torch.isfinite(g).all() for g in grads)
    assert all((g != 0).any() for g in grads)
