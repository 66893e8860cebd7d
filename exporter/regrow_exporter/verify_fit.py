"""Prove the export of a metric head as `verify` proves a rule that steps; there is no gradient to check.

Two fits follow each other, the second with other labels for the same samples, so that it adds to the first:
(a) the numpy reference matches torch in fp64 to 1e-9 per tensor in losses, fits and answers; (b) each fp32
engine's first fit is within 8x of what torch loses in fp32, floor 1e-5; (c) so is what both fits made, floor
1e-4. A fit has no decision that could flip.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regrow import reference
from regrow.bundle import Bundle
from regrow_exporter.deviation import (
    DRIFT_FLOOR,
    ENGINE_FACTOR,
    GRADIENT_FLOOR,
    SHARE,
    Arrays,
    VerificationError,
    errors,
    judge_graph,
    moved,
    worst_of,
)
from regrow_exporter.given import Given, moved_to
from regrow_exporter.oracle import Oracle, fitted_oracle
from regrow_exporter.programs import Learner, Programs
from regrow_exporter.provers import Prover, provers
from regrow_exporter.verify import JITTERED_RUNS, verification_episode

Rounds = Sequence[tuple[NDArray[np.float32], NDArray[Any]]]


def verify_fit(
    learner: Learner,
    programs: Programs,
    env: Arrays,
    done: Callable[[float], None] = lambda share: None,
    shipped: Bundle | None = None,
    given: Given | None = None,
) -> dict[str, Any]:
    """All three checks; returns the figures for the manifest or raises VerificationError.

    onnxruntime is always proven, the other engines present on the bundle that is `shipped`. `given` is the
    network before it was simplified, unless that changed nothing. `done` is told the share of the work that
    is behind.
    """
    x, y = verification_episode(learner, programs.outputs)
    rounds = [(x, y), (x, np.roll(y, 1))]
    given = given or Given(learner, env)
    active = np.ones(programs.outputs, np.bool_)
    env = {**env, "active": active}
    exact = fitted_oracle(given.learner, rounds, torch.float64)
    done(0.3)
    figures = {
        "support": len(x),
        "fits": len(rounds),
        "reference": _check_graph(programs, {**given.env, "active": active}, rounds, exact),
    }
    done(0.6)
    singles = []
    for jitter in range(JITTERED_RUNS):
        singles.append(fitted_oracle(given.learner, rounds, torch.float32, jitter))
        done(0.6 + 0.3 * (jitter + 1) / JITTERED_RUNS)
    if given.learner.module is not learner.module:
        proven = _computed(programs, env, rounds, exact)
        singles = [[moved_to(*trio) for trio in zip(proven, exact, s, strict=True)] for s in singles]
        exact = proven
    figures["engines"] = {
        name: {"refused": prover}
        if isinstance(prover, str)
        else _check_engine(name, prover, env, rounds, exact, singles)
        for name, prover in provers(programs, env, shipped).items()
    }
    return figures


def _computed(programs: Programs, env: Arrays, rounds: Rounds, like: Sequence[Oracle]) -> list[Oracle]:
    """What the programs make of every round in fp64."""
    known, made = dict(env), []
    for (x, y), truth in zip(rounds, like, strict=True):
        known, _ = reference.adapt(programs.deployed, {**known, "x": x, "y": y}, 1)
        made.append(replace(truth, params={name: known[name] for name in truth.params}))
    return made


def _check_graph(
    programs: Programs, env: Arrays, rounds: Rounds, exact: Sequence[Oracle]
) -> dict[str, float]:
    worst: list[dict[str, dict[str, float]]] = []
    known = dict(env)
    for (x, y), truth in zip(rounds, exact, strict=True):
        known, losses = reference.adapt(programs.deployed, {**known, "x": x, "y": y}, 1)
        losses.append(float(known["loss"]))
        logits = reference.run(programs.deployed["predict"], known)["logits"]
        found = {name: known[name] for name in truth.params}
        worst.append(
            {
                "losses": errors({"": np.array(losses)}, {"": np.array(truth.losses)}, 0.0),
                "fit": errors(found, truth.params, SHARE),
                "predict": errors({"": logits}, {"": truth.output}, 0.0),
            }
        )
    return judge_graph({what: worst_of(figures[what] for figures in worst) for what in worst[0]})


def _check_engine(
    name: str,
    engine: Prover,
    env: Arrays,
    rounds: Rounds,
    exact: Sequence[Oracle],
    singles: Sequence[Sequence[Oracle]],
) -> dict[str, float]:
    figures: dict[str, float] = {}
    known, base = dict(env), {n: env[n] for n in exact[0].params}
    for i, (what, floor) in enumerate((("fit", GRADIENT_FLOOR), ("drift", DRIFT_FLOOR))):
        x, y = rounds[i]
        known |= engine.adapt({**known, "x": x, "y": y}, 1)
        truth = moved(exact[i].params, base)
        found = errors(moved({n: known[n] for n in base}, base), truth, SHARE)
        lost = worst_of(errors(moved(single[i].params, base), truth, SHARE) for single in singles)
        for parameter, error in found.items():
            limit = max(ENGINE_FACTOR * lost[parameter], floor)
            if not error <= limit:
                raise VerificationError(
                    f"verify: {name}: {what} of {parameter}: off by {error:.2e}, expected at most "
                    f"{limit:.2e} (8x what torch loses in fp32); the export is refused"
                )
        figures |= {what: max(found.values()), f"{what}_torch": max(lost.values())}
    return figures
