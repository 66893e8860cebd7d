"""A network as it was given, to prove its simplified programs by, whatever they then are rounded to."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from regrow import reference
from regrow_exporter.oracle import Oracle
from regrow_exporter.programs import Learner, Programs

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Given:
    """A network before it was simplified or rounded, and in fp64 what its simplified programs read.

    The programs are proven to compute what the network does as it was given. Where its weights are then
    rounded further than fp32, the engine is held to these proven programs, on the rounded weights.
    """

    learner: Learner
    env: Arrays


def computed(learner: Learner, programs: Programs, env: Arrays, steps: int) -> Oracle:
    """What the programs compute in fp64."""
    assert programs.gradient is not None
    out = reference.run(programs.gradient, env)
    known, losses = reference.adapt(programs.deployed, env, steps)
    output = reference.run(programs.deployed["predict"], known)["logits"]
    grads = {n: out[f"grad:{n}"] for n in learner.adaptable}
    return Oracle(float(out["loss"]), grads, {n: known[n] for n in learner.adaptable}, tuple(losses), output)


def moved_to(truth: Oracle, exact: Oracle, single: Oracle) -> Oracle:
    """`single` as far from `truth` as it was from `exact`."""
    grads = {n: truth.grads[n] + (g - exact.grads[n]) for n, g in single.grads.items()}
    params = {n: truth.params[n] + (p - exact.params[n]) for n, p in single.params.items()}
    return replace(truth, grads=grads, params=params)
