"""How far results are from what a case expects, output by output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from regrow.conformance.arrays import Array

# An output that is nothing but rounding (the gradient of a bias before a batch norm) is judged against this
# share of all outputs of its kind instead of against itself.
SHARE = 1e-3
START = "start:"
# What a case expects beside the outputs of its adapt graph: predictions before and after adapting.
BEFORE, AFTER = "logits:before", "logits:after"


@dataclass(frozen=True)
class Finding:
    """One output: its error, what was allowed, and in words what else is wrong with it."""

    output: str
    error: float
    tolerance: float
    problem: str = ""

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # false where the error is NaN


def outputs(expected: Mapping[str, Array]) -> list[str]:
    """The outputs among the expected arrays; the others are the weights that adapting started from."""
    return [name for name in expected if not name.startswith(START)]


def errors(expected: Mapping[str, Array], found: Mapping[str, Array]) -> dict[str, float]:
    """|found - expected| / (|expected| + SHARE * |all expected of its kind|) per output, in fp64.

    Of adapted weights (`new:`) what is compared is how far they moved.
    """
    truth, wholes = _truth(expected)
    return {
        name: _norm(_moved(name, found[name], expected) - value)
        / (_norm(value) + SHARE * wholes[_kind(name)] + 1e-30)
        for name, value in truth.items()
    }


def negligible(expected: Mapping[str, Array]) -> set[str]:
    """The outputs that are smaller than that share: zero but for rounding."""
    truth, wholes = _truth(expected)
    return {name for name, value in truth.items() if _norm(value) <= SHARE * wholes[_kind(name)]}


def _truth(expected: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, float]]:
    """What is compared of every output, and the size of all of a kind."""
    truth = {name: _moved(name, expected[name], expected) for name in outputs(expected)}
    wholes: dict[str, float] = {}
    for name, value in truth.items():
        wholes[_kind(name)] = math.hypot(wholes.get(_kind(name), 0.0), _norm(value))
    return truth, wholes


def _kind(output: str) -> str:
    return output.partition(":")[0]


def judge(
    expected: Mapping[str, Array], found: Mapping[str, Array], tolerances: Mapping[str, float]
) -> tuple[Finding, ...]:
    """A finding for every expected output; one that is absent or of another shape is infinitely wrong."""
    usable = dict(expected)
    problems: dict[str, str] = {}
    for name in outputs(expected):
        if name not in found:
            problems[name] = "missing"
        elif np.shape(found[name]) != expected[name].shape:
            problems[name] = f"shape {list(np.shape(found[name]))}, expected {list(expected[name].shape)}"
        else:
            usable[name] = found[name]
    measured = errors(expected, usable) | dict.fromkeys(problems, math.inf)
    return tuple(
        Finding(name, error, tolerances[name], problems.get(name, "")) for name, error in measured.items()
    )


def _moved(name: str, value: Array, expected: Mapping[str, Array]) -> Array:
    wide = np.asarray(value, np.float64)
    start = expected.get(START + name.removeprefix("new:")) if name.startswith("new:") else None
    return wide if start is None else wide - start


def _norm(value: Array) -> float:
    return float(np.linalg.norm(value.ravel()))
