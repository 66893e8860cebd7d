"""What the turns of a suite amount to: medians with intervals, ratios of pairs, noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from regrow.bench.stats import ratios, spread

Series = dict[int, float]  # by round
Taken = dict[str, Series]
OURS = ("regrow native", "regrow onnx")
# Where the 95th percentile lies further above the median than this, the last digit means nothing.
NOISY = 0.25


def figures(taken: Taken) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, series in taken.items():
        values = list(series.values())
        p50, p95, p99 = (float(np.percentile(values, q)) for q in (50, 95, 99))
        made[key] = {**spread(values).to_json(), "p50": p50, "p95": p95, "p99": p99}
    return made


def all_ratios(taken: dict[str, Taken]) -> dict[str, dict[str, Any]]:
    """How many times as long as each of ours every peer takes, by processor time and by the wall."""
    found: dict[str, dict[str, Any]] = {}
    for ours in OURS:
        for name in taken:
            if ours in taken and name != ours:
                both = [key for key in taken[name] if set(taken[name][key]) & set(taken[ours].get(key, ()))]
                found[f"{name} / {ours}"] = {
                    key: _pairwise(taken[name][key], taken[ours][key]) for key in both
                }
    return found


def _pairwise(a: Series, b: Series) -> dict[str, float]:
    both = sorted(set(a) & set(b))
    return ratios([a[i] for i in both], [max(b[i], 1e-6) for i in both]).to_json()


def clock(threads: int) -> str:
    """Which of the times are shown: the processor's on one thread, else the wall's."""
    return "_cpu" if threads == 1 else ""


def wide(figure: dict[str, float]) -> bool:
    """Whether a figure's own times lie too far apart for a third digit."""
    return figure["count"] > 1 and figure["p95"] > figure["p50"] * (1 + NOISY)


def noise(found: dict[str, Any], threads: int) -> float:
    """By how much the 95th percentile of adaptations lies above their median, in the middle of all peers."""
    shown = [fact.get(f"adapt_ms{clock(threads)}") for fact in found["peers"].values() if "error" in fact]
    apart = [f["p95"] / f["p50"] - 1 for f in shown if f and f["count"] > 1]
    return round(float(np.median(apart)), 3) if apart else 0.0
