"""What torch makes of a case: the truth it is proven against, and what torch itself loses in fp32."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from regrow.conformance.judge import AFTER, START, errors
from regrow_exporter.capture import NO_ARGS
from regrow_exporter.conformance.cases import STEPS, Masks, Plan
from regrow_exporter.deviation import GRAPH_LIMIT, VerificationError, worst_of
from regrow_exporter.learners import fitting, is_metric, make_rule, stepping
from regrow_exporter.masks import merged
from regrow_exporter.metric import HEAD
from regrow_exporter.oracle import Oracle, fitted_oracle, oracle
from regrow_exporter.precision import settle
from regrow_exporter.prepare import prepared
from regrow_exporter.programs import Learner
from regrow_exporter.verify import JITTERED_RUNS

Arrays = Mapping[str, NDArray[Any]]


def in_use(outputs: torch.Tensor, y: torch.Tensor, ways: int) -> torch.Tensor:
    """Cross-entropy over the first `ways` outputs, as a session computes it that has seen no other class."""
    return F.cross_entropy(outputs[:, :ways], y)


def learner(plan: Plan, module: nn.Module, masks: Masks, example: torch.Tensor) -> Learner:
    """The learner that `export` makes of the same plan."""
    settings = {"rule": "sgd", "lr": 0.01, "update": "kept", "precision": "fp32", **plan.settings}
    whole, found = prepared(module)
    kept = merged(whole, found, masks)
    rule, _, _ = make_rule(settings["rule"], settings.get("rule_args"), settings["lr"])
    if is_metric(rule):
        moving = fitting(whole, example, rule, HEAD, None, kept)
    else:
        meta = plan.meta(module)
        moving = stepping(whole, rule, STEPS, settings["adaptable"], meta, kept, settings["update"])
    settle(whole, moving.masks, settings["precision"], moving.exact)
    loss, args = settings.get("loss", "cross_entropy"), NO_ARGS
    if loss == "cross_entropy":
        loss, args = f"{__name__}:in_use", {"ways": plan.ways}
    return moving.learner(whole, plan.shape, moving.names, loss, args)


def lost(made: Learner, support: Arrays, expected: Arrays) -> dict[str, float]:
    """Torch's worst fp32 error in every expected output it has; refuses where torch in fp64 disagrees."""
    exact = _torch(made, support, torch.float64)
    known = {name: array for name, array in expected.items() if name in exact or name.startswith(START)}
    known.pop(AFTER, None)  # it answers for the support set, whose expected answers nobody keeps
    for name, error in errors(known, exact).items():
        if not error <= GRAPH_LIMIT:
            raise VerificationError(
                f"conformance: {name}: the reference differs from torch fp64 by {error:.2e}, expected at "
                f"most {GRAPH_LIMIT:.0e}; the case is refused"
            )
    truth = exact | {name: array for name, array in expected.items() if name.startswith(START)}
    runs = [_torch(made, support, torch.float32, jitter) for jitter in range(JITTERED_RUNS)]
    return worst_of(errors(truth, run) for run in runs)


def _torch(made: Learner, support: Arrays, dtype: torch.dtype, jitter: int = 0) -> dict[str, NDArray[Any]]:
    x, y = support["x"], support["y"]
    if made.head:
        (run,) = fitted_oracle(made, [(x, y)], dtype, jitter)
        return _named(run) | {"loss": np.array(run.losses[:1]), "final_loss": np.array(run.losses[1])}
    run = oracle(made, x, y, int(support["steps"]), dtype, jitter)
    return _named(run) | {"loss": np.array(run.losses)}


def _named(run: Oracle) -> dict[str, NDArray[Any]]:
    return {**{f"new:{name}": array for name, array in run.params.items()}, AFTER: run.output}
