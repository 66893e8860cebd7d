"""PAMELA (Rajasegaran et al. 2020): learned rates Q per step, and learned mixing P with earlier weights.

theta~ <- theta - Q[j] * g; every w steps theta <- (1 - P[s]) theta~ + P[s] theta_(w steps before), else
theta <- theta~. A convolution has one rate per filter, which its bias and norm share; other parameters have
one each. P has one number per layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from regrow.errors import UnsupportedError
from regrow_trainer.rules import Rule
from regrow_trainer.rules.layers import owners
from regrow_trainer.tensors import Tensors


def pamela(
    lr: float = 0.01,
    steps: int = 5,
    w: int = 2,
    skip: Literal["aligned", "literal"] = "aligned",
    rates: bool = True,
) -> Rule:
    """Begins as gradient descent: Q is `lr`, P is 0; so it is again after `steps` steps.

    The paper's ablation: without `rates` Q stays `lr` and only P is learned, with `w` above `steps` only Q.

    `aligned` mixes after steps w, 2w, ..., as the paper's index sets say; `literal` at the steps j = w, 2w
    and so on of its equation 5, one step later.
    """
    if w < 1 or steps < 1 or skip not in ("aligned", "literal"):
        raise UnsupportedError(
            f"rule: pamela: steps {steps}, w {w}, skip {skip!r}; expected steps and w from 1, and a skip "
            "that is 'aligned' or 'literal'"
        )
    mixes = steps // w if skip == "aligned" else (steps - 1) // w

    def meta(params: Tensors) -> Tensors:
        layer = owners(_shapes(params))
        made = {}
        for name, param in params.items():
            owner = params[layer[name]]
            own = owner.shape[:1] if owner.ndim > 2 else param.shape
            if rates:
                made[_rates(params, layer, name)] = torch.full((steps, *own), lr, dtype=param.dtype)
        if mixes:
            made |= {f"p.{name}": torch.zeros(mixes) for name in dict.fromkeys(layer.values())}
        return made

    def init(meta: Tensors, params: Tensors) -> Tensors:
        return {f"kept.{name}": torch.zeros_like(param) for name, param in params.items()} if mixes else {}

    def update(
        meta: Tensors, params: Tensors, grads: Tensors, state: Tensors, step: Tensor
    ) -> tuple[Tensors, Tensors]:
        layer = owners(_shapes(params))
        row = step.clamp(max=steps - 1).reshape(1)
        # At step 0 nothing was kept yet, even if a state came along: `step` starts over, the weights do not.
        fresh = step == 0
        due = (step + 1) % w == 0 if skip == "aligned" else step % w == 0
        which = (step + 1) // w - 1 if skip == "aligned" else step // w - 1
        mixing = due & (which >= 0) & (which < mixes)
        new, kept = {}, {}
        for name, param in params.items():
            rate = torch.tensor(lr, dtype=param.dtype, device=param.device)
            if rates:
                learned = torch.index_select(meta[_rates(params, layer, name)], 0, row)[0]
                rate = torch.where(step < steps, learned, lr)
            moved = param - rate.reshape(*rate.shape, *[1] * (param.ndim - rate.ndim)) * grads[name]
            new[name] = moved
            if mixes:
                old = torch.where(fresh, param, state[f"kept.{name}"])
                share = torch.index_select(meta[f"p.{layer[name]}"], 0, which.clamp(0, mixes - 1).reshape(1))
                new[name] = torch.where(mixing, torch.lerp(moved, old, share[0]), moved)
                mark = new[name] if skip == "aligned" else param
                kept[f"kept.{name}"] = torch.where(due, mark, old)
        return new, kept

    return Rule(meta, init, update)


def _shapes(params: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tuple(param.shape) for name, param in params.items()}


def _rates(params: Tensors, layer: Mapping[str, str], name: str) -> str:
    """The meta tensor that holds a parameter's rates: its convolution's, else its own."""
    owner = layer[name]
    return f"q.{owner}" if params[owner].ndim > 2 else f"q.{name}"
