"""DMSGD and M2SGD: a learned rate per weight, static plus what an LSTM makes of the gradients at this step.

    beta_t  = ReLU(beta + gamma * tanh(U h_t));   theta <- theta - beta_t * g
    M2SGD:    theta <- theta where beta_t > xi, else 0

"M2SGD: learning to learn important weights" (CVPR workshops 2020). A weight whose rate is zero is not
trained; M2SGD removes it, at every step anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from regrow.errors import UnsupportedError
from regrow_trainer.rules import Rule
from regrow_trainer.rules.coordinates import flat, lstm, lstm_meta, readable, unflat, uniform
from regrow_trainer.tensors import Tensors

Form = Literal["global", "coordinate"]
Rates = Callable[[Tensors, Tensors, Tensors, Tensors], tuple[Tensors, Tensors]]


def dmsgd(
    lr: float = 0.001,
    form: Form = "global",
    width: int = 20,
    gamma: float = 1.0,
    p: float = 10.0,
    seed: int = 0,
) -> Rule:
    """All static rates begin at `lr`.

    `global` is the form of the published tables: one LSTM reads the whole network at once, and half of all
    rates are zero from the beginning. `coordinate` is that of the paper's text: each weight has a memory of
    its own and reads its own gradient; it begins as Meta-SGD, U = 0.
    """
    meta, init, rates = _parts(lr, form, width, gamma, p, seed)

    def update(
        meta: Tensors, params: Tensors, grads: Tensors, state: Tensors, step: Tensor
    ) -> tuple[Tensors, Tensors]:
        found, made = rates(meta, params, grads, state)
        return {n: param - found[n] * grads[n] for n, param in params.items()}, made | _kept(found)

    return Rule(meta, init, update, lambda state: (_rates_of(state), {}))


def m2sgd(
    xi: float = 0.0,
    lr: float = 0.001,
    form: Form = "global",
    width: int = 20,
    gamma: float = 1.0,
    p: float = 10.0,
    seed: int = 0,
) -> Rule:
    """As `dmsgd`, and a weight whose rate is not above `xi` becomes zero; it may grow again later.

    A mask passes no gradient to the rates, so trajectories are trained without it, as DMSGD.
    """
    plain = dmsgd(lr, form, width, gamma, p, seed)

    def update(
        meta: Tensors, params: Tensors, grads: Tensors, state: Tensors, step: Tensor
    ) -> tuple[Tensors, Tensors]:
        moved, made = plain.update(meta, params, grads, state, step)
        found = _rates_of(made)
        return {n: torch.where(found[n] > xi, new, 0.0) for n, new in moved.items()}, made

    def freeze(state: Tensors) -> tuple[Tensors, Tensors]:
        found = _rates_of(state)
        return found, {n: rate > xi for n, rate in found.items()}

    return Rule(plain.meta, plain.init, update, freeze, plain.update)


def _parts(
    lr: float, form: Form, width: int, gamma: float, p: float, seed: int
) -> tuple[Callable[[Tensors], Tensors], Callable[[Tensors, Tensors], Tensors], Rates]:
    if form not in get_args(Form):
        raise UnsupportedError(
            f"rule: dmsgd: form {form!r}, expected one of {', '.join(get_args(Form))}; choose one"
        )
    whole = form == "global"

    def meta(params: Tensors) -> Tensors:
        generator = torch.Generator().manual_seed(seed)
        made = {f"rate.{n}": torch.full_like(param, lr) for n, param in params.items()}
        count = sum(param.numel() for param in params.values())
        if not whole:
            return made | lstm_meta("lstm", 2, width, generator) | {"out": torch.zeros(width, 1)}
        for n, param in params.items():
            size = param.numel()
            made[f"reduce.{n}"] = uniform((size, width), count, generator)
            made[f"out.{n}"] = uniform((size, width), width, generator)
            made[f"shift.{n}"] = uniform((size,), width, generator)
        return made | {
            "reduce": uniform((width,), count, generator),
            "mix.weight": uniform((1, 5), 5, generator),
            "mix.bias": uniform((1,), 5, generator),
            **lstm_meta("lstm", width, width, generator),
        }

    def init(meta: Tensors, params: Tensors) -> Tensors:
        rows = 1 if whole else sum(param.numel() for param in params.values())
        zeros = next(iter(params.values())).new_zeros((rows, width))
        return {"hidden": zeros, "cell": zeros, **_kept({n: meta[f"rate.{n}"] for n in params})}

    def rates(meta: Tensors, params: Tensors, grads: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        still = {n: meta[f"rate.{n}"] for n in params}
        seen = (
            _summary(meta, params, grads, still, p) if whole else readable(flat(_in_order(grads, params)), p)
        )
        hidden, cell = lstm(meta, "lstm", seen, state["hidden"], state["cell"])
        if whole:
            moving = {n: (meta[f"out.{n}"] @ hidden[0] + meta[f"shift.{n}"]) for n in params}
        else:
            moving = unflat((hidden @ meta["out"])[:, 0], params)
        found = {
            n: torch.relu(still[n] + gamma * torch.tanh(moving[n]).reshape(param.shape))
            for n, param in params.items()
        }
        return found, {"hidden": hidden, "cell": cell}

    return meta, init, rates


def _summary(meta: Tensors, params: Tensors, grads: Tensors, still: Tensors, p: float) -> Tensor:
    """Five rows that describe every weight, each reduced to `width` numbers, mixed into one: (1, width)."""
    total = meta["reduce"]
    for n, param in params.items():
        weight, slope, rate = param.reshape(-1), grads[n].reshape(-1), torch.relu(still[n]).reshape(-1)
        rows = torch.cat([readable(slope, p).T, torch.stack([weight, slope, rate])])  # (5, size)
        total = total + rows @ meta[f"reduce.{n}"]
    return meta["mix.weight"] @ total + meta["mix.bias"]


def _in_order(tensors: Tensors, like: Tensors) -> Tensors:
    return {n: tensors[n] for n in like}


def _kept(rates: Tensors) -> Tensors:
    """The rates of a step as state. No step reads it, so an exported program does not carry it."""
    return {f"rate.{n}": rate for n, rate in rates.items()}


def _rates_of(state: Tensors) -> Tensors:
    return {n.removeprefix("rate."): t for n, t in state.items() if n.startswith("rate.")}
