"""Only what is needed is built: the prefix is hoisted, frozen layers have no backward, masks select."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from regrow import plan, reference, selftest
from regrow.program_json import parse_program
from regrow_exporter.capture import labelled
from regrow_exporter.drafting import environment
from regrow_exporter.onnx_run import OnnxGraph
from regrow_exporter.onnx_writer import write_adapt, write_single
from regrow_exporter.programs import build
from tests.exporter.networks import NETWORKS, learner


def kinds(program):
    return {op.kind for op in program.ops}


def test_head_only_has_no_convolution_left_in_the_step():
    deployed = build(learner("conv4", lambda n: n.startswith("head"))).deployed
    assert "conv2d" in kinds(deployed["prefix"])
    assert not {k for k in kinds(deployed["step"]) if k.startswith(("conv2d", "batch_norm", "max_pool"))}


def test_bias_and_norm_only_needs_no_weight_gradient():
    deployed = build(learner("residual", lambda n: "norm" in n or n.endswith("bias"))).deployed
    assert "conv2d_dw" not in kinds(deployed["step"])
    assert "conv2d_dx" in kinds(deployed["step"])


def test_the_gradient_of_the_input_is_never_built():
    step = build(learner("conv4")).deployed["step"]
    assert sum(op.kind == "conv2d_dx" for op in step.ops) == sum(op.kind == "conv2d" for op in step.ops) - 1


def test_last_block_only_hoists_the_rest():
    deployed = build(learner("conv4", lambda n: n.startswith(("blocks.2", "head")))).deployed
    assert sum(op.kind == "conv2d" for op in deployed["prefix"].ops) == 2
    assert sum(op.kind == "conv2d" for op in deployed["step"].ops) == 1


@pytest.mark.parametrize("batch", [1, 5, 25])
@pytest.mark.parametrize("name", NETWORKS)
def test_one_dynamic_graph_serves_every_batch(name, batch):
    made = learner(name)
    programs = build(made)
    env = {**environment(made, programs)}
    x, y = selftest.episode(0, batch, max(programs.outputs, 2), made.shape)
    if not labelled(made.loss):
        y = np.linspace(-1, 1, batch * programs.outputs, dtype=np.float32).reshape(batch, -1)
    env |= {"x": x, "y": y}
    out = OnnxGraph(write_single(programs.gradient, env, "gradient")).run(env)
    exact = reference.run(programs.gradient, env)
    for key, want in exact.items():
        np.testing.assert_allclose(out[key], want, rtol=2e-3, atol=2e-4, err_msg=key)


def test_programs_survive_json():
    for program in build(learner("residual")).deployed.values():
        assert parse_program(json.loads(json.dumps(program.to_json())), "test") == program


def test_where_the_mask_does_not_move_bits_stay_even_beside_infinite_gradients():
    made = learner("residual")
    params = made.tensors()
    moves = {n: torch.rand(params[n].shape) < 0.5 for n in made.adaptable if params[n].ndim > 1}
    made = learner("residual", moves=moves)
    programs = build(made)
    env = environment(made, programs)
    x, y = selftest.episode(0, 6, 4, made.shape)
    x[0] = np.float32(3e38)  # overflows in the first batch norm
    out = OnnxGraph(write_adapt(programs.deployed, env)).run({**env, "x": x, "y": y}, steps=3)
    for name, mask in moves.items():
        before, after = env[name][~mask.numpy()], out[f"new:{name}"][~mask.numpy()]
        assert before.tobytes() == after.tobytes()
    assert not all(np.isfinite(out[f"new:{n}"]).all() for n in moves)


def test_zero_steps_change_nothing_and_still_give_statistics():
    made = learner("conv4")
    programs = build(made)
    env = environment(made, programs)
    x, y = selftest.episode(0, 5, 5, made.shape)
    out = OnnxGraph(write_adapt(programs.deployed, env)).run({**env, "x": x, "y": y}, steps=0)
    assert out["loss"].shape == (0,)
    assert all((out[f"new:{n}"] == env[n]).all() for n in made.adaptable)
    assert set(programs.statistics) <= set(out)


def test_unused_outputs_learn_nothing_and_equal_a_smaller_head():
    made = learner("conv4")
    programs = build(made)
    env = environment(made, programs)
    x, y = selftest.episode(0, 6, 3, made.shape)
    active = np.array([True, True, True, False, False])
    adapt = OnnxGraph(write_adapt(programs.deployed, env))
    out = adapt.run({**env, "x": x, "y": y, "active": active}, steps=2)
    assert (out["new:head.weight"][3:] == env["head.weight"][3:]).all()
    _, losses = reference.adapt(programs.deployed, {**env, "x": x, "y": y, "active": active}, 2)
    np.testing.assert_allclose(out["loss"], losses, rtol=1e-5)
    assert abs(losses[0]) < 3


def test_the_plan_grows_with_the_batch_and_shrinks_with_the_adaptable_set():
    everything, head = (build(learner("conv4", f)).deployed for f in (None, lambda n: n.startswith("head")))
    assert plan.peak_bytes(everything, 10) > plan.peak_bytes(everything, 5)
    assert plan.peak_bytes(head, 10) < plan.peak_bytes(everything, 10)
