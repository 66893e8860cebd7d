"""Sine waves to regress: amplitude in [0.1, 5], frequency in [0.8, 1.2], phase in [0, pi], x in [-5, 5].

The ranges are those of the PAMELA paper (MAML's, with a frequency). The parameters and x are the same on
every platform; y passes through the platform's sine, so its last bit may differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from regrow.episodes.draws import Draws
from regrow.episodes.source import Episode
from regrow.errors import SampleError


@dataclass(frozen=True)
class Sine:
    """y = amplitude * sin(frequency * x + phase), one wave per episode."""

    part: int
    amplitude: tuple[float, float]
    frequency: tuple[float, float]
    phase: tuple[float, float]
    x: tuple[float, float]

    @property
    def task(self) -> Literal["regression"]:
        return "regression"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (1,)

    def episode(self, k_shot: int, queries: int, seed: int, index: int) -> Episode:
        """Wave number `index`: `k_shot` support and `queries` query points, x uniform."""
        draws = Draws("sine", self.part, seed, index)
        unit = draws.uniform((3,)).tolist()
        ranges = (self.amplitude, self.frequency, self.phase)
        a, f, p = (low + (high - low) * u for (low, high), u in zip(ranges, unit, strict=True))
        x = draws.uniform((k_shot + queries, 1), *self.x)
        y = (a * np.sin(f * x + p)).astype(np.float32)
        x32 = x.astype(np.float32)
        name = f"{a:.3f}*sin({f:.3f}*x+{p:.3f})"
        return Episode(x32[:k_shot], y[:k_shot], x32[k_shot:], y[k_shot:], (name,))


_PARTS = {"": 0, "train": 0, "val": 1, "test": 2}


def sine(
    part: str = "",
    *,
    amplitude: tuple[float, float] = (0.1, 5.0),
    frequency: tuple[float, float] = (0.8, 1.2),
    phase: tuple[float, float] = (0.0, math.pi),
    x: tuple[float, float] = (-5.0, 5.0),
) -> Sine:
    """Open "sine", "sine:val" or "sine:test": one distribution, streams that never share a draw."""
    if part not in _PARTS:
        raise SampleError(f"source 'sine:{part}': no part is called {part!r}; use train, val or test")
    return Sine(_PARTS[part], amplitude, frequency, phase, x)
