"""What removing a weight does to the meta-objective, to first order: its size times its meta-gradient's.

Molchanov et al., "Importance estimation for neural network pruning" (2019), with the gradient through
adaptation. Summed over a channel it is the usual score for removing whole channels.
"""

from __future__ import annotations

import torch

from regrow_trainer.pruners import Evidence, Judgement


def taylor(evidence: Evidence) -> Judgement:
    """|w| E[|g|]."""
    slopes = evidence.gradients(torch.abs)
    return Judgement({name: w.detach().abs() * slopes[name] for name, w in evidence.weights.items()})
