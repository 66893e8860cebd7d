"""Whether an episode stays clear of ties: of ReLUs at zero, of two equal largest values in a pool.

Where rounding decides which branch is taken, two right runtimes differ by more than rounding.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow import reference
from regrow.bundle import Bundle
from regrow.conformance.subjects import STAGES, environment

Arrays = Mapping[str, NDArray[Any]]
Decisions = list[dict[str, NDArray[Any]]]

# Every number moved by up to this share of itself: a hundred times the rounding of fp32.
SHARE = 100 * 2.0**-24
TRIES = 3


def clear(bundle: Bundle, support: Arrays, query: Arrays) -> bool:
    """Whether every decision on the way stays as it is when samples and weights are moved a little."""
    env = environment(bundle, support)
    exact = _along(bundle, env, query)
    for seed in range(TRIES):
        rng = np.random.default_rng(seed)
        other = _along(bundle, _moved(env, rng), _moved(query, rng))
        if any((a[n] != b[n]).any() for a, b in zip(exact, other, strict=True) for n in a):
            return False
    return True


def _moved(env: Arrays, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    return {
        name: array.astype(np.float64) * (1 + SHARE * (2 * rng.random(array.shape) - 1))
        if array.dtype.kind == "f"
        else array
        for name, array in env.items()
    }


def _along(bundle: Bundle, env: Arrays, query: Arrays) -> Decisions:
    """The decisions of every step and of the predictions, in fp64."""
    programs = {name: bundle.program(name) for name in STAGES}
    known, made = dict(env), []

    def run(name: str, values: Arrays) -> dict[str, NDArray[Any]]:
        traced = reference.trace(programs[name], values)
        made.append(reference.decisions(programs[name], traced))
        return {output: traced[output] for output in programs[name].outputs}

    run("predict", {**known, **query})
    known |= run("prefix", known)
    for step in range(int(env["steps"])):
        out = run("step", {**known, "step": np.asarray(step)})
        known |= {n.removeprefix("next:"): v for n, v in out.items() if n.startswith("next:")}
    statistics = {n: v for n, v in run("finish", known).items() if n.startswith("stat:")}
    run("predict", {**known, **query, **statistics})
    return made
