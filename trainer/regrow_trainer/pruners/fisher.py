"""What removing a weight costs: its square times a diagonal curvature, from the meta-gradients of some tasks.

The curvature is the root of the mean squared gradient, as in Adam; the mean square itself (the empirical
Fisher information of optimal brain damage) trusts a few tasks too much. Meant for scope "global".
"""

from __future__ import annotations

from regrow_trainer.pruners import Evidence
from regrow_trainer.tensors import Tensors


def fisher(evidence: Evidence) -> Tensors:
    """w^2 sqrt(E[g^2])."""
    squares = evidence.squared_gradients()
    return {name: w.detach() ** 2 * squares[name].sqrt() for name, w in evidence.weights.items()}
