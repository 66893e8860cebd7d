"""Whether two learners differ: a paired bootstrap over episodes that both have seen. Trains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.evaluate import Evaluation

RESAMPLES = 10_000
_SLAB = 500  # resamples in memory at a time


@dataclass(frozen=True)
class Difference:
    """Second minus first score: mean and 95 % interval; `real` where the interval leaves out zero."""

    mean: float
    low: float
    high: float
    episodes: int

    @property
    def real(self) -> bool:
        return not self.low <= 0 <= self.high

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        ends = {"mean": self.mean, "low": self.low, "high": self.high}
        return {**ends, "episodes": self.episodes, "resamples": RESAMPLES, "real": self.real}


def difference(first: Evaluation, second: Evaluation, seed: int = 0) -> Difference:
    """Resample episodes, not scores: what is hard in an episode is hard for both."""
    gaps = second.minus(first).scores
    low, high = np.quantile(_means(gaps, seed), (0.025, 0.975))
    return Difference(float(gaps.mean()), float(low), float(high), len(gaps))


def _means(gaps: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """The mean of every resample."""
    generator = np.random.default_rng(seed)
    drawn = (generator.integers(len(gaps), size=(_SLAB, len(gaps))) for _ in range(RESAMPLES // _SLAB))
    return np.concatenate([gaps[rows].mean(1) for rows in drawn])


def verdict(found: Difference, first: str, second: str, metric: str) -> str:
    """The finding as a sentence."""
    percent = metric == "accuracy"
    scale, form = (100, "{:+.2f} points") if percent else (1, "{:+.4f}")
    mean, low, high = (form.format(scale * value) for value in (found.mean, found.low, found.high))
    ends = f"95 %: {low} to {high}, paired bootstrap, {found.episodes} episodes"
    gap = f"{second} against {first}: {mean} of {metric} ({ends})"
    if not found.real:
        return f"{gap}; that may be chance"
    better = second if (found.mean > 0) == percent else first
    return f"{gap}; the difference is real, {better} is better"
