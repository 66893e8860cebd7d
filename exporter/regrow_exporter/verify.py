"""Prove an export before it is written: graph against torch in fp64, engine against torch's own fp32 error.

(a) The numpy reference of the programs must match torch in fp64 to 1e-9 per tensor: this proves the graph.
    Where a rule blows rounding up, an update may differ as much as torch's own does on jittered samples.
(b) Each fp32 engine's step-1 gradients must be within 8x of what torch loses in fp32, floor 1e-5; beyond
    that a decision must lie at a tie, and torch lose as much where such decisions fall the other way.
(c) Its drift after K steps is recorded; beyond the same factor it needs a flipped ReLU or pooling tie.

What torch loses is the worst of a few fp32 runs on samples jittered by one rounding: a single run of a deep
network may or may not hit a ReLU that sits on its kink, and then says nothing about the next one.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regrow import reference, selftest
from regrow.bundle import Bundle
from regrow.program import Program
from regrow_exporter.capture import labelled
from regrow_exporter.deviation import (
    ENGINE_FACTOR,
    GRAPH_LIMIT,
    SHARE,
    Arrays,
    errors,
    judge_graph,
    moved,
    worst_of,
)
from regrow_exporter.given import Given, computed, moved_to
from regrow_exporter.oracle import Oracle, oracle
from regrow_exporter.programs import Learner, Programs
from regrow_exporter.provers import provers
from regrow_exporter.verify_engines import Case, check_engine, movable

# Multiplications that one run of K steps may take: some seconds in fp64 on one core.
MEANS = 4 * 10**10

JITTERED_RUNS = 4


def verification_episode(learner: Learner, outputs: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Two samples per class from the self-test generator; smooth targets for a regression."""
    x, labels = selftest.episode(0, 2 * outputs if outputs > 2 else 6, max(outputs, 2), learner.shape)
    if labelled(learner.loss):
        return x, labels
    rows = [selftest.uniform(0, 5000 + i, outputs) * 2 - 1 for i in range(len(x))]
    return x, np.stack(rows).astype(np.float32)


def within_means(forward: Program, rows: int, steps: int) -> tuple[int, int]:
    """Samples and steps that a large network is proven on: the second step already rests on the first."""
    per_row = 3 * _products(forward)
    while rows * steps * per_row > MEANS and steps > 2:
        steps -= 1
    while rows * steps * per_row > MEANS and rows > 2:
        rows -= 1
    return rows, steps


def _products(program: Program) -> int:
    """Multiplications per sample in convolutions and linear layers."""
    layers = [op for op in program.ops if op.kind in ("conv2d", "linear")]
    shapes = [(program.values[op.outputs[0]].at(1), program.values[op.inputs[1]].shape) for op in layers]
    return sum(prod(out) * prod(weight[1:]) for out, weight in shapes)


def verify(
    learner: Learner,
    programs: Programs,
    env: Arrays,
    steps: int,
    done: Callable[[float], None] = lambda share: None,
    shipped: Bundle | None = None,
    given: Given | None = None,
) -> dict[str, Any]:
    """All three checks; returns the figures for the manifest or raises VerificationError.

    onnxruntime is always proven, the other engines present on the bundle that is `shipped`. `given` is the
    network before it was simplified, unless that changed nothing. `done` is told the share of the work that
    is behind; in ResNet-12 the two fp64 runs are two thirds of it.
    """
    given = given or Given(learner, env)
    x, y = verification_episode(learner, programs.outputs)
    rows, steps = within_means(programs.deployed["predict"], len(x), steps)
    x, y = x[:rows], y[:rows]
    episode = {"x": x, "y": y, "active": np.ones(programs.outputs, np.bool_)}
    env = {**env, **episode}
    truth = exact = oracle(given.learner, x, y, steps, torch.float64)
    done(0.3)
    figures = {
        "support": len(x),
        "steps": steps,
        "reference": _check_graph(given.learner, programs, {**given.env, **episode}, exact, steps),
    }
    done(0.67)
    singles = []
    for jitter in range(JITTERED_RUNS):
        singles.append(oracle(given.learner, x, y, steps, torch.float32, jitter))
        done(0.67 + 0.24 * (jitter + 1) / JITTERED_RUNS)
    if given.learner.module is not learner.module:
        exact = computed(learner, programs, env, steps)
        singles = [moved_to(exact, truth, single) for single in singles]
    case = Case(given.learner, programs, env, steps, truth, exact, singles)
    figures["engines"] = {
        # An engine that says it cannot run this bundle is no danger to anyone.
        name: {"refused": prover} if isinstance(prover, str) else check_engine(name, prover, case)
        for name, prover in provers(programs, env, shipped).items()
    }
    return figures


def _check_graph(
    learner: Learner, programs: Programs, env: Arrays, exact: Oracle, steps: int
) -> dict[str, float]:
    assert programs.gradient is not None
    out = reference.run(programs.gradient, env)
    found = movable(learner, {n: out[f"grad:{n}"] for n in learner.adaptable})
    known, losses = reference.adapt(programs.deployed, env, steps)
    logits = reference.run(programs.deployed["predict"], known)["logits"]
    base = {n: env[n].astype(np.float64) for n in learner.adaptable}
    worst = {
        "loss": {"loss": abs(float(out["loss"]) - exact.loss) / (abs(exact.loss) + 1e-30)},
        "gradient": errors(found, movable(learner, exact.grads), SHARE),
        "losses": errors({"": np.array(losses)}, {"": np.array(exact.losses)}, 0.0),
        "update": errors(moved(known, base), moved(exact.params, base), SHARE),
        # On the support set itself, the statistics predict uses are the batch's own.
        "predict": errors({"": logits}, {"": exact.output}, 0.0),
    }
    if not max(worst["update"].values()) <= GRAPH_LIMIT:
        worst["update"] = _unexplained(learner, env, exact, steps, worst["update"])
    return judge_graph(worst)


def _unexplained(
    learner: Learner, env: Arrays, exact: Oracle, steps: int, update: Mapping[str, float]
) -> dict[str, float]:
    """Errors that torch in fp64 does not show itself on samples moved by a rounding.

    A rule that divides by the size of a gradient, as Adam does, makes an update of a gradient that is zero
    but for rounding (a bias before a batch norm), and that update is noise in every implementation.
    """
    base = {n: env[n].astype(np.float64) for n in learner.adaptable}
    truth = moved(exact.params, base)
    runs = [oracle(learner, env["x"], env["y"], steps, torch.float64, j + 1) for j in range(JITTERED_RUNS)]
    noise = worst_of(errors(moved(run.params, base), truth, SHARE) for run in runs)
    return {n: 0.0 if GRAPH_LIMIT < e <= ENGINE_FACTOR * noise[n] else e for n, e in update.items()}
