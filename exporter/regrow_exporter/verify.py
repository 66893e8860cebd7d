"""Prove an export before it is written: graph against torch in fp64, engine against torch's own fp32 error.

(a) The numpy reference of the programs must match torch in fp64 to 1e-9 per tensor: this proves the graph.
    Where a rule blows rounding up, an update may differ as much as torch's own does on jittered samples.
(b) The fp32 engine's step-1 gradients must be within 8x of what torch loses in fp32, floor 1e-5.
(c) The drift after K steps is recorded; beyond the same factor it needs a flipped ReLU or pooling tie.

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
from regrow.errors import UnsupportedError
from regrow.program import Program
from regrow_exporter.capture import labelled
from regrow_exporter.given import Given, computed, moved_to
from regrow_exporter.onnx_run import OnnxGraph
from regrow_exporter.onnx_writer import write_adapt, write_single
from regrow_exporter.oracle import Oracle, oracle
from regrow_exporter.programs import Learner, Programs

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
    given: Given | None = None,
) -> dict[str, Any]:
    """All three checks; returns the figures for the manifest or raises VerificationError.

    `done` is told the share of the work that is behind; in ResNet-12 the two fp64 runs are two thirds of it.
    """
    given = given or Given(learner, env)
    x, y = verification_episode(learner, programs.outputs)
    rows, steps = within_means(programs.deployed["predict"], len(x), steps)
    x, y = x[:rows], y[:rows]
    episode = {"x": x, "y": y, "active": np.ones(programs.outputs, np.bool_)}
    env = {**env, **episode}
    exact = oracle(given.learner, x, y, steps, torch.float64)
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
        proven = computed(learner, programs, env, steps)
        singles = [moved_to(proven, exact, single) for single in singles]
        exact = proven
    figures["engines"] = {"onnx": _check_onnx(learner, programs, env, exact, singles, steps)}
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


def _check_onnx(
    learner: Learner, programs: Programs, env: Arrays, exact: Oracle, singles: Sequence[Oracle], steps: int
) -> dict[str, Any]:
    assert programs.gradient is not None
    gradient = OnnxGraph(write_single(programs.gradient, env, "gradient"))
    out = gradient.run(env)
    truth = _movable(learner, exact.grads)
    found = errors(_movable(learner, {n: out[f"grad:{n}"] for n in learner.adaptable}), truth, SHARE)
    torch_error = worst_of(errors(_movable(learner, single.grads), truth, SHARE) for single in singles)
    for name, error in found.items():
        limit = max(ENGINE_FACTOR * torch_error[name], GRADIENT_FLOOR)
        if not error <= limit:
            raise VerificationError(
                f"verify: onnx: gradient of {name}: off by {error:.2e}, expected at most {limit:.2e} "
                f"(8x what torch loses in fp32); the export is refused"
            )
    drift = _check_drift(learner, programs, env, exact, singles, steps)
    return {"gradient": max(found.values()), "gradient_torch": max(torch_error.values()), **drift}


def _check_drift(
    learner: Learner, programs: Programs, env: Arrays, exact: Oracle, singles: Sequence[Oracle], steps: int
) -> dict[str, Any]:
    adapt = OnnxGraph(write_adapt(programs.deployed, env))
    base = {n: env[n].astype(np.float64) for n in learner.adaptable}
    truth = moved(exact.params, base)
    out = adapt.run(env, steps=steps)
    new = {n: out[f"new:{n}"] for n in learner.adaptable}
    found = errors(moved(new, base), truth, SHARE)
    lost = worst_of(errors(moved(single.params, base), truth, SHARE) for single in singles)
    # Where torch in fp32 is off by as much as the whole update, that update is noise and tells nothing.
    telling = [n for n, error in lost.items() if error < 1] or list(lost)
    drift, torch_drift = (max(run[n] for n in telling) for run in (found, lost))
    flips = 0
    if not drift <= max(ENGINE_FACTOR * torch_drift, DRIFT_FLOOR):
        flips = _flips(programs.deployed, adapt, env, steps)
        if not flips or not np.isfinite(drift):
            raise VerificationError(
                f"verify: onnx: after {steps} steps the update is off by {drift:.2e}, torch in fp32 by "
                f"{torch_drift:.2e}, and no ReLU or pooling decision differs; the export is refused"
            )
    return {"drift": drift, "drift_torch": torch_drift, "flips": flips}


def _flips(programs: Mapping[str, Program], adapt: OnnxGraph, env: Arrays, steps: int) -> int:
    """How many branch decisions the engine's fp32 path takes differently from the fp64 path."""
    flipped = 0
    for done in range(steps):
        out = adapt.run(env, steps=done)
        mine = {k.removeprefix("new:"): v for k, v in out.items() if k.startswith("new:")}
        exact, _ = reference.adapt(programs, env, done)
        paths = ((env | mine, np.float32), (exact, np.float64))  # type: ignore[operator]
        taken = [_decisions(programs, values, dtype) for values, dtype in paths]
        flipped += sum(int((taken[0][name] != taken[1][name]).sum()) for name in taken[0])
    return flipped


def _decisions(programs: Mapping[str, Program], env: Arrays, dtype: Any) -> dict[str, NDArray[Any]]:
    prefix = reference.trace(programs["prefix"], env, dtype)
    values = reference.trace(programs["finish"], {**env, **prefix}, dtype)
    return reference.decisions(programs["prefix"], prefix) | reference.decisions(programs["finish"], values)
