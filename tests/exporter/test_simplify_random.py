"""Random networks with random dead filters: simplified, they still compute what torch does in fp64."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from regrow_exporter import deviation
from regrow_exporter.simplify.blocks import blocks
from tests.exporter.dead_networks import killed
from tests.exporter.test_simplify import learner, proven

SHAPE = (2, 6, 6)


class Random(nn.Module):
    """Stages of a width each: convolution, norm, activation; some joined with what entered them."""

    def __init__(self, stages, flat):
        super().__init__()
        self.stages, self.flat, width = stages, flat, SHAPE[0]
        for i, stage in enumerate(stages):
            out = width if stage["join"] == "add" or stage["deep"] else stage["width"]
            groups = width if stage["deep"] else 1
            conv = nn.Conv2d(width, out, stage["kernel"], padding=stage["kernel"] // 2, groups=groups,
                             bias=stage["bias"])  # fmt: skip
            self.add_module(f"conv{i}", conv)
            if stage["norm"] != "none":
                self.add_module(
                    f"norm{i}", nn.BatchNorm2d(out, track_running_stats=stage["norm"] == "tracked")
                )
            width = width + out if stage["join"] == "concat" else out
        self.low = nn.Linear(width * 4 if flat else width, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        for i, stage in enumerate(self.stages):
            y = self.get_submodule(f"conv{i}")(x)
            y = self.get_submodule(f"norm{i}")(y) if stage["norm"] != "none" else y
            y = {"relu": torch.relu, "tanh": torch.tanh, "none": lambda v: v}[stage["act"]](y)
            x = {"add": lambda x, y: x + y, "concat": lambda x, y: torch.cat([y, x], 1),
                 "none": lambda x, y: y}[stage["join"]](x, y)  # fmt: skip
        x = nn.functional.max_pool2d(x, 3).flatten(1) if self.flat else x.mean((2, 3))
        return self.head(torch.tanh(self.low(x)))


STAGE = st.fixed_dictionaries(
    {
        "width": st.integers(2, 5),
        "kernel": st.sampled_from([1, 3]),
        "bias": st.booleans(),
        "deep": st.booleans(),
        "norm": st.sampled_from(["none", "batch", "tracked"]),
        "act": st.sampled_from(["relu", "tanh", "none"]),
        "join": st.sampled_from(["none", "none", "add", "concat"]),
        "dead": st.sets(st.integers(0, 4), max_size=3),
        "share": st.sampled_from([0.2, 0.6, 1.0]),
    }
)


# No shrinking: an example takes half a second, and what is printed is small.
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    stages=st.lists(STAGE, min_size=1, max_size=4),
    flat=st.booleans(),
    adaptable=st.sampled_from([("head.*",), ("head.*", "low.*"), ("head.*", "conv0.*"), ("*",)]),
    update=st.sampled_from(["kept", "kept", "pruned", "all"]),
    seed=st.integers(0, 99),
)
def test_a_random_network_computes_what_it_did(stages, flat, adaptable, update, seed):
    torch.manual_seed(seed)
    module = Random(stages, flat)
    dead = {}
    for i, stage in enumerate(stages):
        rows = len(module.get_parameter(f"conv{i}.weight"))
        dead[f"conv{i}.weight"] = {row for row in stage["dead"] if row < rows}
    masks = killed(module, dead, share=stages[0]["share"], seed=seed)
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    programs, errors = proven(learner(module, SHAPE, adaptable, masks, update))
    assert max(errors.values()) < deviation.GRAPH_LIMIT
    assert all(
        d > 0 for p in programs.deployed.values() for v in p.values.values() for d in v.shape if d > -1
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data())
def test_blocks_hold_the_same_elements(sizes, data):
    batch = data.draw(st.booleans())
    source = [-1, *sizes] if batch else sizes
    # Join runs of axes, and put axes of size 1 between.
    target, rest = [], list(source)
    while rest:
        run = [rest.pop(0) for _ in range(data.draw(st.integers(1, len(rest))))]
        target += [int(np.prod(run)), *[1] * data.draw(st.integers(0, 1))]
    found = list(blocks(source, target))
    for mine, theirs in found:
        assert np.prod([source[a] for a in mine]) == np.prod([target[a] for a in theirs])
        assert len(theirs) == 1
    assert sorted(a for mine, _ in found for a in mine) == [a for a, d in enumerate(source) if d != 1]
