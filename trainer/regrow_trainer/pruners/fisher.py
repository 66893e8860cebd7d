"""What removing a weight costs: its square times a diagonal curvature, from the meta-gradients of some tasks.

The curvature is the root of the mean squared gradient, as in Adam; the mean square itself (the empirical
Fisher information of optimal brain damage) trusts a few tasks too much. Meant for scope "global".
"""

from __future__ import annotations

import torch

from regrow_trainer.pruners import Evidence, Judgement


def fisher(evidence: Evidence) -> Judgement:
    """w^2 sqrt(E[g^2])."""
    squares = evidence.gradients(torch.square)
    return Judgement({n: w.detach() ** 2 * squares[n].sqrt() for n, w in evidence.weights.items()})
