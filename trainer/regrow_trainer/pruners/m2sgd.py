"""Weights that a learned optimiser hardly trains go first: M2SGD's mask, given a sparsity instead of xi.

Works for rules with a rate per weight: dmsgd, m2sgd, meta_sgd.
"""

from __future__ import annotations

from regrow.errors import UnsupportedError
from regrow_trainer.pruners import Evidence
from regrow_trainer.tensors import Tensors


def m2sgd(evidence: Evidence) -> Tensors:
    """The rate of each weight after the last step, 0 where it is negative."""
    rates = evidence.rates()
    if lacking := [name for name in evidence.weights if name not in rates]:
        raise UnsupportedError(
            f"pruner: m2sgd: no rate of its own for {', '.join(lacking)}, expected one for every weight; use "
            "the rule dmsgd, m2sgd or meta_sgd and adapt these weights, or another pruner"
        )
    return {name: rates[name].clamp(min=0.0) for name in evidence.weights}
