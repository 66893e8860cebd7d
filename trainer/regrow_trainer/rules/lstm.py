"""The LSTM optimiser: theta <- theta + scale * u, where u comes from an LSTM that reads each gradient.

Andrychowicz et al., "Learning to learn by gradient descent by gradient descent" (2016). Two layers, shared by
all weights; every weight has a memory of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from regrow_trainer.rules import Rule
from regrow_trainer.rules.coordinates import flat, lstm, lstm_meta, readable, unflat, uniform
from regrow_trainer.tensors import Tensors

_LAYERS = ("first", "second")


def lstm_optimiser(width: int = 20, scale: float = 0.01, p: float = 10.0, seed: int = 0) -> Rule:
    """`width` cells per layer, gradients made readable with `p`; `seed` draws the LSTM."""

    def meta(params: Tensors) -> Tensors:
        generator = torch.Generator().manual_seed(seed)
        made = lstm_meta("first", 2, width, generator) | lstm_meta("second", width, width, generator)
        return made | {
            "out.weight": uniform((width, 1), width, generator),
            "out.bias": torch.zeros(1),
        }

    def init(meta: Tensors, params: Tensors) -> Tensors:
        some = next(iter(params.values()))
        zeros = some.new_zeros((sum(p.numel() for p in params.values()), width))
        return {f"{part}.{layer}": zeros for layer in _LAYERS for part in ("hidden", "cell")}

    def update(
        meta: Tensors, params: Tensors, grads: Tensors, state: Tensors, step: Tensor
    ) -> tuple[Tensors, Tensors]:
        row = readable(flat({n: grads[n] for n in params}), p)
        made: Tensors = {}
        for layer in _LAYERS:
            row, cell = lstm(meta, layer, row, state[f"hidden.{layer}"], state[f"cell.{layer}"])
            made |= {f"hidden.{layer}": row, f"cell.{layer}": cell}
        moves = unflat((row @ meta["out.weight"] + meta["out.bias"])[:, 0], params)
        return {n: param + scale * moves[n] for n, param in params.items()}, made

    return Rule(meta, init, update)
