"""How parameters change while adapting: pure functions, written once in torch, captured for the device.

A rule is one file that makes a `Rule`, and one row here. `update` is traced by the exporter, so it branches
on no tensor: a per-step value is a gather by `step` (0-d int64, from 0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from regrow.errors import UnsupportedError
from regrow_trainer.tables import call
from regrow_trainer.tensors import Tensors

# name -> "module:function that makes the rule"
RULES: dict[str, str] = {
    "adam": "regrow_trainer.rules.adam:adam",
    "bmp": "regrow_trainer.rules.bmp:bmp",
    "meta_sgd": "regrow_trainer.rules.meta_sgd:meta_sgd",
    "momentum": "regrow_trainer.rules.momentum:momentum",
    "pamela": "regrow_trainer.rules.pamela:pamela",
    "sgd": "regrow_trainer.rules.sgd:sgd",
    "step_rates": "regrow_trainer.rules.step_rates:step_rates",
}


class Rule(NamedTuple):
    """Three functions of the adaptable parameters.

    `meta(params)`: what the rule learns or is set to; `init(meta, params)`: the state it carries from step to
    step; `update(meta, params, grads, state, step)`: new parameters and state.
    """

    meta: Callable[[Tensors], Tensors]
    init: Callable[[Tensors, Tensors], Tensors]
    update: Callable[[Tensors, Tensors, Tensors, Tensors, Tensor], tuple[Tensors, Tensors]]


def build(path: str, args: dict[str, Any]) -> Rule:
    """Make the rule at a dotted path."""
    rule = call("rule", path, args)
    if isinstance(rule, tuple) and len(rule) == 3 and all(callable(part) for part in rule):
        return Rule(*rule)
    raise UnsupportedError(f"rule: {path} made a {type(rule).__name__}, expected a Rule(meta, init, update)")
