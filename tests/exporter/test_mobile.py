"""Networks as they run on devices, with every usual adaptable set: proven, and right for any batch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from regrow import reference, selftest
from regrow_exporter import deviation, verify
from regrow_exporter.drafting import environment
from regrow_exporter.onnx_run import OnnxGraph
from regrow_exporter.onnx_writer import write_single
from regrow_exporter.programs import build
from tests.exporter.mobile_networks import MOBILE
from tests.exporter.networks import learner
from tests.exporter.sequence_networks import SEQUENCES

# All of them together is the set of every other test.
SETS = {
    "head": lambda name: name.startswith("head"),
    "last block": lambda name: name.startswith(("last", "head")),
    "bias and norm": lambda name: "norm" in name or name.endswith("bias"),
}


@pytest.mark.parametrize("chosen", SETS)
@pytest.mark.parametrize("name", [*MOBILE, *SEQUENCES])
def test_every_adaptable_set_is_proven(name, chosen):
    made = learner(name, SETS[chosen])
    programs = build(made)
    env = environment(made, programs)
    figures = verify.verify(made, programs, env, 3)
    assert max(figures["reference"].values()) < deviation.GRAPH_LIMIT
    graph = OnnxGraph(write_single(programs.gradient, env, "gradient"))
    for batch in (1, 5, 25):
        x, y = selftest.episode(0, batch, programs.outputs, made.shape)
        exact = reference.run(programs.gradient, {**env, "x": x, "y": y})
        found = graph.run({**env, "x": x, "y": y})
        for key, want in exact.items():
            np.testing.assert_allclose(found[key], want, rtol=2e-3, atol=2e-4, err_msg=f"{key}, {batch}")


def test_a_head_alone_leaves_no_layer_in_the_step():
    for name in MOBILE:
        step = build(learner(name, SETS["head"])).deployed["step"]
        layers = ("conv2d", "batch_norm", "normalize", "max_pool", "avg_pool", "gelu", "hardswish", "elu")
        assert not {op.kind for op in step.ops if op.kind.startswith(layers)}, name


def test_statistics_of_the_support_set_serve_a_single_query():
    """Tracked batch norm in training mode ignores its running buffers; the support set leaves its own."""
    made = learner("tracked")
    programs = build(made)
    assert sorted(programs.statistics) == [
        f"stat:{norm}.{part}" for norm in ("last.1", "norm1") for part in ("mean", "var")
    ]
    assert not any("running" in name for p in programs.deployed.values() for name in p.inputs)
