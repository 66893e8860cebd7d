"""Optimal brain surgeon per layer, before adaptation (L-OBS) or after it (ANP).

L-OBS (Dong, Chen, Pan 2017) judges a weight by the inputs its layer sees on one target task. ANP (Gao et al.,
"Pruning meta-trained networks for on-device adaptation", 2021) lets the network adapt to each of many tasks
first and judges the weights it began with by what their layers see then. Both move the weights that stay.
"""

from __future__ import annotations

from functools import partial

from regrow.errors import UnsupportedError
from regrow_trainer.pruners import Asked, Evidence, Judgement

_ALPHA = 1e-6  # the middle of the range the paper gives; what a dead input costs
_COLUMNS = 2048


def anp(
    evidence: Evidence,
    *,
    tasks: int = 128,
    alpha: float = _ALPHA,
    recursive: bool = False,
    repair: bool = True,
    columns: int = _COLUMNS,
    block: int = 0,
) -> Judgement:
    """By the inputs after adaptation, over many tasks. `recursive` holds half the state and takes longer.

    `block` bounds the columns that are factorised together: a layer of d columns then takes d * block numbers
    of state and (block / d)^2 of the time, and makes up for a weight within its block only.
    """
    return _judge(evidence, Asked(tasks, True, alpha, recursive, columns, block), repair)


def l_obs(
    evidence: Evidence,
    *,
    tasks: int = 1,
    alpha: float = _ALPHA,
    recursive: bool = False,
    repair: bool = True,
    columns: int = _COLUMNS,
    block: int = 0,
) -> Judgement:
    """By the inputs before adaptation, of one target task as published; more tasks make it a fair rival."""
    return _judge(evidence, Asked(tasks, False, alpha, recursive, columns, block), repair)


def _judge(evidence: Evidence, asked: Asked, repair: bool) -> Judgement:
    if asked.tasks < 1 or not asked.alpha > 0 or asked.columns < 1 or asked.block < 0:
        raise UnsupportedError(
            f"prune.args: tasks {asked.tasks}, alpha {asked.alpha}, columns {asked.columns}, expected all of "
            f"them above 0; block {asked.block}, expected 0 or more; correct them"
        )
    seen = evidence.curvatures(asked)
    scores = seen.scores(evidence.params, evidence.masks)
    repaired = partial(seen.repaired, evidence.params) if repair else None
    return Judgement(scores, repaired, seen.nbytes)
