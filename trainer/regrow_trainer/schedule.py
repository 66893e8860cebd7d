"""What a run does when, as pure functions of the iteration: rates, which losses count, pruning rounds."""

from __future__ import annotations

import math
from typing import Literal

from regrow_trainer.recipe import Prune


def rounds(prune: Prune | None, iterations: int) -> list[tuple[int, float]]:
    """(iteration, sparsity) of every pruning round, spread over the first half; the rest is retraining.

    A round removes a share of the *original* count, the last one what is left to do: 10 % of the remainder
    would never reach 85 %.
    """
    if prune is None:
        return []
    if prune.schedule == "oneshot":
        return [(0, prune.sparsity)]
    share = float(prune.schedule.partition(":")[2])
    count = max(1, math.ceil(prune.sparsity / share - 1e-9))
    half = iterations // 2
    return [(i * half // count, min(prune.sparsity, share * (i + 1))) for i in range(count)]


def learning_rate(
    peak: float, schedule: Literal["constant", "linear", "cosine"], iteration: int, iterations: int
) -> float:
    """The peak throughout, or a straight line or half a cosine from the peak to 0."""
    if schedule == "constant":
        return peak
    if schedule == "linear":
        return peak * (1 - iteration / max(1, iterations))
    return peak * 0.5 * (1 + math.cos(math.pi * iteration / max(1, iterations)))


def step_shares(steps: int, fade: int, iteration: int) -> tuple[float, ...]:
    """The weight of the query loss after each step: equal at first, after `fade` iterations only the last."""
    if iteration >= fade:
        return ()
    early = (1 - iteration / fade) / steps
    return (*[early] * (steps - 1), 1 - early * (steps - 1))
