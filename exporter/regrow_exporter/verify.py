"""Prove an export before it is written: graph against torch in fp64, engine against torch's own fp32 error.

(a) The numpy reference of the programs must match torch in fp64 to 1e-9 per tensor: this proves the graph.
    Where a rule blows rounding up, an update may differ as much as torch's own does on jittered samples.
(b) Each fp32 engine's step-1 gradients must be within 8x of what torch loses in fp32, floor 1e-5; beyond
    that a decision must lie at a tie, and torch lose as much where such decisions fall the other way.
(c) Its drift after K steps is recorded; beyond the same factor it needs a flipped ReLU or pooling tie.

What torch loses is the worst of a few fp32 runs on samples jittered by one rounding: a single run of a deep
network may or may not hit a ReLU that sits on its kink, and then says nothing about the next one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regrow import reference, selftest
from regrow.bundle import Bundle
from regrow.errors import UnsupportedError
from regrow.program import Program
from regrow_exporter.capture import labelled
from regrow_exporter.oracle import Oracle, jittered, oracle
from regrow_exporter.programs import Learner, Programs
from regrow_exporter.provers import Prover, provers

Arrays = Mapping[str, NDArray[Any]]

GRAPH_LIMIT = 1e-9
ENGINE_FACTOR = 8.0
GRADIENT_FLOOR = 1e-5
DRIFT_FLOOR = 1e-4
# A gradient that is zero in exact arithmetic (a bias before a batch norm) is noise in every precision, so it
# is judged against this share of the whole gradient instead of against itself. In fp64 a 1 % mistake in a
# tensor a millionth of the whole still stands out a million times over the limit.
SHARE = 1e-3
# Multiplications that one run of K steps may take: some seconds in fp64 on one core.
MEANS = 4 * 10**10

JITTERED_RUNS = 4
# Samples moved by so many roundings bring about every tie that rounding within a deep network may.
TIE_ROUNDINGS, TIE_RUNS = 64, 8


class VerificationError(UnsupportedError):
    """The exported program does not compute what torch computes; nothing was written."""


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


def errors(found: Arrays, truth: Arrays, share: float) -> dict[str, float]:
    """Relative error per tensor, each against its own norm plus a share of the whole."""
    whole = float(np.sqrt(sum(float((t.astype(np.float64) ** 2).sum()) for t in truth.values())))
    return {
        name: float(np.linalg.norm((found[name].astype(np.float64) - t).ravel()))
        / (float(np.linalg.norm(t.ravel())) + share * whole + 1e-30)
        for name, t in truth.items()
    }


def verify(
    learner: Learner,
    programs: Programs,
    env: Arrays,
    steps: int,
    done: Callable[[float], None] = lambda share: None,
    shipped: Bundle | None = None,
) -> dict[str, Any]:
    """All three checks; returns the figures for the manifest or raises VerificationError.

    onnxruntime is always proven, the other engines present on the bundle that is `shipped`. `done` is told
    the share of the work that is behind; in ResNet-12 the two fp64 runs are two thirds of it.
    """
    x, y = verification_episode(learner, programs.outputs)
    rows, steps = within_means(programs.deployed["predict"], len(x), steps)
    x, y = x[:rows], y[:rows]
    env = {**env, "x": x, "y": y, "active": np.ones(programs.outputs, np.bool_)}
    exact = oracle(learner, x, y, steps, torch.float64)
    done(0.3)
    figures = {
        "support": len(x),
        "steps": steps,
        "reference": _check_graph(learner, programs, env, exact, steps),
    }
    done(0.67)
    singles = []
    for jitter in range(JITTERED_RUNS):
        singles.append(oracle(learner, x, y, steps, torch.float32, jitter))
        done(0.67 + 0.24 * (jitter + 1) / JITTERED_RUNS)
    figures["engines"] = {
        # An engine that says it cannot run this bundle is no danger to anyone.
        name: {"refused": prover}
        if isinstance(prover, str)
        else _check_engine(name, prover, learner, programs, env, exact, singles, steps)
        for name, prover in provers(programs, env, shipped).items()
    }
    return figures


def _check_graph(
    learner: Learner, programs: Programs, env: Arrays, exact: Oracle, steps: int
) -> dict[str, float]:
    assert programs.gradient is not None
    out = reference.run(programs.gradient, env)
    found = _movable(learner, {n: out[f"grad:{n}"] for n in learner.adaptable})
    known, losses = reference.adapt(programs.deployed, env, steps)
    logits = reference.run(programs.deployed["predict"], known)["logits"]
    base = {n: env[n].astype(np.float64) for n in learner.adaptable}
    worst = {
        "loss": {"loss": abs(float(out["loss"]) - exact.loss) / (abs(exact.loss) + 1e-30)},
        "gradient": errors(found, _movable(learner, exact.grads), SHARE),
        "losses": errors({"": np.array(losses)}, {"": np.array(exact.losses)}, 0.0),
        "update": errors(moved(known, base), moved(exact.params, base), SHARE),
        # On the support set itself, the statistics predict uses are the batch's own.
        "predict": errors({"": logits}, {"": exact.output}, 0.0),
    }
    if not max(worst["update"].values()) <= GRAPH_LIMIT:
        worst["update"] = _unexplained(learner, env, exact, steps, worst["update"])
    return judge_graph(worst)


def judge_graph(worst: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The largest error of each kind, or a refusal where one says that the graph is wrong."""
    for what, figures in worst.items():
        name, error = max(figures.items(), key=lambda item: item[1])
        if not error <= GRAPH_LIMIT:
            raise VerificationError(
                f"verify: {what} {name}: differs from torch fp64 by {error:.2e}, expected at most "
                f"{GRAPH_LIMIT:.0e}; the export is refused. Please report the network that causes this"
            )
    return {what: max(figures.values()) for what, figures in worst.items()}


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


def _movable(learner: Learner, grads: Arrays) -> dict[str, NDArray[Any]]:
    """Gradients where they are used. Behind a dead channel the others are noise, in torch as well."""
    return {
        n: np.where(learner.moves[n].numpy(), g, 0) if n in learner.moves else g for n, g in grads.items()
    }


def worst_of(runs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The largest error of each tensor over the runs."""
    merged: dict[str, float] = {}
    for run in runs:
        merged |= {name: max(error, merged.get(name, 0.0)) for name, error in run.items()}
    return merged


def moved(params: Arrays, base: Arrays) -> dict[str, NDArray[Any]]:
    return {name: params[name].astype(np.float64) - start for name, start in base.items()}


def _check_engine(
    name: str,
    engine: Prover,
    learner: Learner,
    programs: Programs,
    env: Arrays,
    exact: Oracle,
    singles: Sequence[Oracle],
    steps: int,
) -> dict[str, Any]:
    truth = _movable(learner, exact.grads)
    found = errors(_movable(learner, engine.gradient(env)), truth, SHARE)
    torch_error = worst_of(errors(_movable(learner, single.grads), truth, SHARE) for single in singles)
    limits = {n: max(ENGINE_FACTOR * lost, GRADIENT_FLOOR) for n, lost in torch_error.items()}
    figures = {"gradient": max(found.values()), "gradient_torch": max(torch_error.values())}
    if over := {n: error for n, error in found.items() if not error <= limits[n]}:
        ties = _ties(learner, programs, env, exact)
        for parameter, error in over.items():
            if not error <= ties.get(parameter, 0.0):
                raise VerificationError(
                    f"verify: {name}: gradient of {parameter}: off by {error:.2e}, expected at most "
                    f"{limits[parameter]:.2e} (8x what torch loses in fp32), and no ReLU or pooling tie "
                    "explains it; the export is refused"
                )
        figures["gradient_ties"] = max(ties[n] for n in over)
    return figures | _check_drift(name, engine, learner, programs, env, exact, singles, steps)


def _ties(learner: Learner, programs: Programs, env: Arrays, exact: Oracle) -> dict[str, float]:
    """What torch loses of each gradient where decisions near a tie are taken the other way; {} without any.

    A ReLU or a maximum within a rounding of its tie falls as it likes in every engine, and each that falls
    the other way moves all gradients below it by a jump. In ResNet-12 some do in every run.
    """
    usual = _decisions(programs.deployed, env, np.float64)
    near = (jittered(torch.from_numpy(env["x"]), j + 1, TIE_ROUNDINGS).numpy() for j in range(TIE_RUNS))
    if not any(_differ(usual, _decisions(programs.deployed, {**env, "x": x}, np.float64)) for x in near):
        return {}
    truth, samples = _movable(learner, exact.grads), (env["x"], env["y"])
    runs = [oracle(learner, *samples, 1, torch.float32, j + 1, TIE_ROUNDINGS) for j in range(TIE_RUNS)]
    return worst_of(errors(_movable(learner, run.grads), truth, SHARE) for run in runs)


def _check_drift(
    name: str,
    engine: Prover,
    learner: Learner,
    programs: Programs,
    env: Arrays,
    exact: Oracle,
    singles: Sequence[Oracle],
    steps: int,
) -> dict[str, Any]:
    base = {n: env[n].astype(np.float64) for n in learner.adaptable}
    truth = moved(exact.params, base)
    found = errors(moved(engine.adapt(env, steps), base), truth, SHARE)
    lost = worst_of(errors(moved(single.params, base), truth, SHARE) for single in singles)
    # Where torch in fp32 is off by as much as the whole update, that update is noise and tells nothing.
    telling = [n for n, error in lost.items() if error < 1] or list(lost)
    drift, torch_drift = (max(run[n] for n in telling) for run in (found, lost))
    flips = 0
    if not drift <= max(ENGINE_FACTOR * torch_drift, DRIFT_FLOOR):
        flips = _flips(programs.deployed, engine, env, steps)
        if not flips or not np.isfinite(drift):
            raise VerificationError(
                f"verify: {name}: after {steps} steps the update is off by {drift:.2e}, torch in fp32 by "
                f"{torch_drift:.2e}, and no ReLU or pooling decision differs; the export is refused"
            )
    return {"drift": drift, "drift_torch": torch_drift, "flips": flips}


def _flips(programs: Mapping[str, Program], engine: Prover, env: Arrays, steps: int) -> int:
    """How many branch decisions the engine's fp32 path takes differently from the fp64 path."""
    flipped = 0
    for done in range(steps):
        exact, _ = reference.adapt(programs, env, done)
        paths = (({**env, **engine.adapt(env, done)}, np.float32), (exact, np.float64))
        flipped += _differ(*(_decisions(programs, values, dtype) for values, dtype in paths))
    return flipped


def _differ(taken: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> int:
    return sum(int((taken[name] != other[name]).sum()) for name in taken)


def _decisions(programs: Mapping[str, Program], env: Arrays, dtype: Any) -> dict[str, NDArray[Any]]:
    prefix = reference.trace(programs["prefix"], env, dtype)
    values = reference.trace(programs["finish"], {**env, **prefix}, dtype)
    return reference.decisions(programs["prefix"], prefix) | reference.decisions(programs["finish"], values)
