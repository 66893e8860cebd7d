"""Hold an fp32 engine to the proven graph: gradients within 8x of what torch loses in fp32, then the drift.

Beyond that a gradient needs a decision at a tie behind it, and torch has to lose as much where such decisions
fall the other way; a drift needs a decision that differs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regrow import reference
from regrow.program import Program
from regrow_exporter.deviation import (
    DRIFT_FLOOR,
    ENGINE_FACTOR,
    GRADIENT_FLOOR,
    SHARE,
    Arrays,
    VerificationError,
    errors,
    moved,
    worst_of,
)
from regrow_exporter.graph import dependents
from regrow_exporter.oracle import Oracle, jittered, oracle
from regrow_exporter.programs import Learner, Programs
from regrow_exporter.provers import Prover

# Samples moved by so many roundings bring about every tie that rounding within a deep network may.
TIE_ROUNDINGS, TIE_RUNS = 64, 8


@dataclass(frozen=True, eq=False)
class Case:
    """What every engine is asked, what torch makes of it, and what the proven programs do."""

    learner: Learner  # as it was given: what torch runs
    programs: Programs
    env: Arrays  # as it is shipped, samples included
    steps: int
    given: Oracle  # torch in fp64
    exact: Oracle  # the same, or the proven programs where weights are rounded below fp32
    singles: Sequence[Oracle]  # runs of torch in fp32, as far from `exact` as they were from `given`

    @cached_property
    def ties(self) -> dict[str, float]:
        """What torch loses of each gradient where decisions near a tie are taken the other way.

        A ReLU or a maximum within a rounding of its tie falls as it likes in every engine, and each that
        falls the other way moves all gradients below it by a jump; in ResNet-12 some do in every run. What
        is above it, or has none such behind it, is not listed: forwards, nothing jumps.
        """
        x, y, programs = self.env["x"], self.env["y"], self.programs.deployed
        usual = decisions(programs, self.env, np.float64)
        near: set[str] = set()
        for j in range(TIE_RUNS):
            moved_x = jittered(torch.from_numpy(x), j + 1, TIE_ROUNDINGS).numpy()
            taken = decisions(programs, {**self.env, "x": moved_x}, np.float64)
            near |= {name for name in usual if (usual[name] != taken[name]).any()}
        ops = programs["finish"].ops
        below = [n for n in self.learner.adaptable if near & dependents(ops, [n])]
        if not below:
            return {}
        truth = movable(self.learner, self.given.grads)
        runs = [oracle(self.learner, x, y, 1, torch.float32, j + 1, TIE_ROUNDINGS) for j in range(TIE_RUNS)]
        lost = worst_of(errors(movable(self.learner, run.grads), truth, SHARE) for run in runs)
        return {name: lost[name] for name in below}


def check_engine(name: str, engine: Prover, case: Case) -> dict[str, Any]:
    """Figures for the manifest, or a refusal."""
    truth = movable(case.learner, case.exact.grads)
    found = errors(movable(case.learner, engine.gradient(case.env)), truth, SHARE)
    lost = worst_of(errors(movable(case.learner, single.grads), truth, SHARE) for single in case.singles)
    limits = {n: max(ENGINE_FACTOR * error, GRADIENT_FLOOR) for n, error in lost.items()}
    figures = {"gradient": max(found.values()), "gradient_torch": max(lost.values())}
    if over := {n: error for n, error in found.items() if not error <= limits[n]}:
        for parameter, error in over.items():
            if not error <= case.ties.get(parameter, 0.0):
                raise VerificationError(
                    f"verify: {name}: gradient of {parameter}: off by {error:.2e}, expected at most "
                    f"{limits[parameter]:.2e} (8x what torch loses in fp32), and no ReLU or pooling tie "
                    "explains it; the export is refused"
                )
        figures["gradient_ties"] = max(case.ties[n] for n in over)
    return figures | _check_drift(name, engine, case)


def _check_drift(name: str, engine: Prover, case: Case) -> dict[str, Any]:
    base = {n: case.env[n].astype(np.float64) for n in case.learner.adaptable}
    truth = moved(case.exact.params, base)
    found = errors(moved(engine.adapt(case.env, case.steps), base), truth, SHARE)
    lost = worst_of(errors(moved(single.params, base), truth, SHARE) for single in case.singles)
    # Where torch in fp32 is off by as much as the whole update, that update is noise and tells nothing.
    telling = [n for n, error in lost.items() if error < 1] or list(lost)
    drift, torch_drift = (max(run[n] for n in telling) for run in (found, lost))
    flips = 0
    if not drift <= max(ENGINE_FACTOR * torch_drift, DRIFT_FLOOR):
        flips = _flips(engine, case)
        if not flips or not np.isfinite(drift):
            raise VerificationError(
                f"verify: {name}: after {case.steps} steps the update is off by {drift:.2e}, torch in fp32 "
                f"by {torch_drift:.2e}, and no ReLU or pooling decision differs; the export is refused"
            )
    return {"drift": drift, "drift_torch": torch_drift, "flips": flips}


def _flips(engine: Prover, case: Case) -> int:
    """How many branch decisions the engine's fp32 path takes differently from the fp64 path."""
    flipped, programs = 0, case.programs.deployed
    for done in range(case.steps):
        exact, _ = reference.adapt(programs, case.env, done)
        taken = decisions(programs, {**case.env, **engine.adapt(case.env, done)}, np.float32)
        right = decisions(programs, exact, np.float64)
        flipped += sum(int((taken[name] != right[name]).sum()) for name in right)
    return flipped


def movable(learner: Learner, grads: Arrays) -> dict[str, NDArray[Any]]:
    """Gradients where they are used. Behind a dead channel the others are noise, in torch as well."""
    return {
        n: np.where(learner.moves[n].numpy(), g, 0) if n in learner.moves else g for n, g in grads.items()
    }


def decisions(programs: Mapping[str, Program], env: Arrays, dtype: Any) -> dict[str, NDArray[Any]]:
    """Every branch that the forward pass takes."""
    prefix = reference.trace(programs["prefix"], env, dtype)
    values = reference.trace(programs["finish"], {**env, **prefix}, dtype)
    return reference.decisions(programs["prefix"], prefix) | reference.decisions(programs["finish"], values)
