"""The verification proves good exports and bites on bad ones, whichever gradient term is wrong."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from regrow import reference
from regrow.program import Op
from regrow_exporter import deviation, verify
from regrow_exporter.drafting import environment
from regrow_exporter.programs import build
from tests.exporter.networks import NETWORKS, learner

STEPS = 3


def check(made, steps=STEPS):
    programs = build(made)
    return verify.verify(made, programs, environment(made, programs), steps)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_proven(name):
    figures = check(learner(name))
    assert max(figures["reference"].values()) < deviation.GRAPH_LIMIT
    assert figures["engines"]["onnx"]["gradient"] < 1e-3


@pytest.mark.parametrize("name", ["conv4", "residual", "mixed"])
def test_masked_weights_are_proven(name):
    made = learner(name)
    params = made.tensors()
    moves = {n: torch.rand(params[n].shape) < 0.5 for n in made.adaptable if params[n].ndim == 4}
    figures = check(learner(name, moves=moves))
    assert max(figures["reference"].values()) < deviation.GRAPH_LIMIT


def damaged(program, value, factor):
    """The program with one value multiplied by `factor` wherever it is read afterwards."""
    fresh = f"{value} damaged"
    ops = []
    for op in program.ops:
        ops.append(replace(op, outputs=tuple(fresh if n == value else n for n in op.outputs)))
        if value in op.outputs:
            ops.append(Op("constant", (), ("factor",), {"value": factor}))
            ops.append(Op("mul", (fresh, "factor"), (value,), {}))
    return replace(program, ops=tuple(ops))


def backward_values(program, values):
    """What the backward pass computes, except exact zeros in disguise (a bias before a batch norm)."""
    kinds = [op.kind for op in program.ops]
    losses = ("cross_entropy", "cross_entropy_soft", "mse", "bce")
    start = max(kinds.index(kind) for kind in losses if kind in kinds) + 1
    made = [name for op in program.ops[start:] for name in op.outputs if name]
    return [name for name in made if np.abs(values[name]).max() > 1e-12]


@pytest.mark.parametrize("name", NETWORKS)
def test_any_wrong_gradient_term_is_refused(name):
    """Dropping or scaling by 1.01 any one value of the backward pass, in every network."""
    made = learner(name)
    programs = build(made)
    x, y = verify.verification_episode(made, programs.outputs)
    env = {**environment(made, programs), "x": x, "y": y}
    exact = verify.oracle(made, x, y, 1, torch.float64)
    verify._check_graph(made, programs, env, exact, 1)
    suspects = backward_values(programs.gradient, reference.trace(programs.gradient, env))
    survivors = []
    for value in suspects:
        for factor in (0.0, 1.01):
            mutant = replace(programs, gradient=damaged(programs.gradient, value, factor))
            try:
                verify._check_graph(made, mutant, env, exact, 1)
            except deviation.VerificationError:
                continue
            survivors.append((value, factor))
    assert len(suspects) > 5
    assert survivors == []


def test_a_wrong_engine_kernel_is_refused(monkeypatch):
    from regrow_exporter.ops import ONNX

    relu_back = ONNX["relu_back"]

    def leaky(b, ins, op, values):
        return [b.node("Mul", relu_back(b, ins, op, values)[0], np.float32(1.001))]

    monkeypatch.setitem(ONNX, "relu_back", leaky)
    with pytest.raises(deviation.VerificationError, match="onnx: gradient of"):
        check(learner("conv4"))


def test_a_wrong_update_is_refused(monkeypatch):
    """The rule goes through the same proof: a rate off by one percent is found."""
    made = learner("mixed")
    programs = build(made)
    env = environment(made, programs)
    env["meta:lr"] = env["meta:lr"] * 1.01
    with pytest.raises(deviation.VerificationError, match="differs from torch fp64"):
        verify.verify(made, programs, env, STEPS)
