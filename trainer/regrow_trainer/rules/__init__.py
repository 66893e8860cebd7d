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
    "dmsgd": "regrow_trainer.rules.dmsgd:dmsgd",
    "lstm_optimiser": "regrow_trainer.rules.lstm:lstm_optimiser",
    "m2sgd": "regrow_trainer.rules.dmsgd:m2sgd",
    "meta_sgd": "regrow_trainer.rules.meta_sgd:meta_sgd",
    "momentum": "regrow_trainer.rules.momentum:momentum",
    "pamela": "regrow_trainer.rules.pamela:pamela",
    "sgd": "regrow_trainer.rules.sgd:sgd",
    "step_rates": "regrow_trainer.rules.step_rates:step_rates",
}


class MetricRule(NamedTuple):
    """A head that is fitted on the device without a gradient; nothing here trains it.

    `init(ways, width)`: what it carries; `fit(params, features, hot)`: the same after samples with one-hot
    labels, a class without samples unchanged; `score(params, features)`: an output per sample and class.
    """

    init: Callable[[int, int], Tensors]
    fit: Callable[[Tensors, Tensor, Tensor], Tensors]
    score: Callable[[Tensors, Tensor], Tensor]


class Rule(NamedTuple):
    """Three functions of the adaptable parameters, and two for rules whose rates change from step to step.

    `meta(params)`: what the rule learns or is set to; `init(meta, params)`: the state it carries from step to
    step; `update(meta, params, grads, state, step)`: new parameters and state. `freeze(state)`: the rate of
    every weight at the last step, and the mask of those that stay ({} for all), with which Meta-SGD may take
    the rule's place. `training`: the update to train trajectories with, where it is another one.
    """

    meta: Callable[[Tensors], Tensors]
    init: Callable[[Tensors, Tensors], Tensors]
    update: Callable[[Tensors, Tensors, Tensors, Tensors, Tensor], tuple[Tensors, Tensors]]
    freeze: Callable[[Tensors], tuple[Tensors, Tensors]] | None = None
    training: Callable[[Tensors, Tensors, Tensors, Tensors, Tensor], tuple[Tensors, Tensors]] | None = None


def build(path: str, args: dict[str, Any]) -> Rule:
    """Make the rule at a dotted path."""
    rule = call("rule", path, args)
    if isinstance(rule, MetricRule):
        raise UnsupportedError(
            f"rule: {path} makes a metric head, expected a rule to train with; train with another one, "
            "then `regrow export CHECKPOINT --rule prototype`"
        )
    if isinstance(rule, Rule):
        return rule
    if isinstance(rule, tuple) and len(rule) == 3 and all(callable(part) for part in rule):
        return Rule(*rule)
    raise UnsupportedError(f"rule: {path} made a {type(rule).__name__}, expected a Rule(meta, init, update)")
