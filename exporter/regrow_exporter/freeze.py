"""Replace a rule whose rates come from an LSTM by those it settles at: Meta-SGD, and its mask if it has one.

The learner adapts to a few support sets as it would on a device; each weight keeps the median of the rates of
the last step, and is removed where most of these would remove it. What remains has no memory and a mask that
does not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from regrow.errors import UnsupportedError
from regrow_exporter.costs import rule_cost, tensors_of
from regrow_exporter.learners import Masks, Moving
from regrow_exporter.oracle import oracle
from regrow_exporter.prepare import prepared

RULE = "regrow_trainer.rules.meta_sgd:meta_sgd"
Support = tuple[NDArray[np.float32], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Frozen:
    """What takes the rule's place."""

    names: tuple[str, ...]  # parameters of which something still moves
    meta: dict[str, torch.Tensor]
    masks: dict[str, torch.Tensor]  # where not every weight stays, those of before included
    about: dict[str, Any]


def freezable(rule: Any) -> bool:
    """Whether a rule can say the rates that it last used."""
    return getattr(rule, "freeze", None) is not None


def freeze(module: nn.Module, moving: Moving, loss: str, supports: Sequence[Support]) -> Frozen:
    """Settle the rates; the removed weights of `module` become zero."""
    shape, names = supports[0][0].shape[1:], moving.names
    learner = moving.learner(prepared(module)[0], shape, names, loss)
    rule: Any = moving.rule
    last = [rule.freeze(oracle(learner, x, y, moving.steps, torch.float32).state) for x, y in supports]
    rates = {n: torch.stack([r[n] for r, _ in last]).median(0).values for n in names}
    kept = {n: torch.stack([m[n] for _, m in last]).float().median(0).values > 0 for n in last[0][1]}
    masks = _joined(moving.masks, kept)
    about = {
        "support_sets": len(supports),
        "steps": moving.steps,
        "still": _share(rates, lambda rate: rate == 0),
        "removed": _share(kept, lambda mask: ~mask),
        "dynamic": rule_cost(rule, learner.meta, tensors_of(module, names)),
    }
    with torch.no_grad():
        for n, mask in kept.items():
            module.get_parameter(n).masked_fill_(~mask, 0.0)
    # Of a tensor that is gone as a whole nothing moves: it is stored as zeros.
    alive = tuple(n for n in names if n not in kept or bool(masks[n].any()))
    if not alive:
        raise UnsupportedError(
            "export: no rate is above xi, so that every weight would be removed; train with a smaller "
            "rule.args.xi, or give dynamic=True (--dynamic) to take the LSTM along"
        )
    left = {n: mask for n, mask in masks.items() if bool(mask.any()) and not bool(mask.all())}
    return Frozen(alive, {f"rate.{n}": rates[n] for n in alive}, left, about)


def _joined(before: Masks, kept: Masks) -> dict[str, torch.Tensor]:
    both = {n: before[n] & kept[n] for n in kept if n in before}
    return {**before, **kept, **both}


def _share(tensors: Masks, test: Any) -> float:
    """The share of all numbers that pass a test."""
    size = sum(t.numel() for t in tensors.values())
    return sum(int(test(t).sum()) for t in tensors.values()) / size if size else 0.0
