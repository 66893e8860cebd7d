"""Random small networks, rules and adaptable sets: gradients and updates are torch's, on every engine."""

import os
import tempfile

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from regrow.engines import available
from regrow.errors import UnsupportedError
from regrow_exporter import deviation, export
from tests.exporter.random_networks import RULES, SETS, networks

FEW = settings(max_examples=8, deadline=None, derandomize=True, database=None)
# Nobody reads the smallest example of a mistake made on purpose.
FIRST = settings(FEW, phases=[Phase.generate])
MANY = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def holds(case, rule, adaptable):
    """The export proves itself against torch in fp64 and each engine in fp32; here its figures are read."""
    module, shape = case
    if adaptable == ["@norm+bias"] and not any(p.ndim == 1 for p in module.parameters()):
        adaptable = ["*"]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "m.regrow")
        settings_ = {"adaptable": adaptable, "rule": rule, "lr": RULES[rule], "steps": 3, "path": path}
        made = export(module, torch.rand(6, *shape), **settings_)
    found = made.manifest.verification
    assert max(found["reference"].values()) <= deviation.GRAPH_LIMIT
    assert set(found["engines"]) == set(available())
    assert all("refused" not in figures for figures in found["engines"].values())


@FEW
@given(networks(), st.sampled_from(sorted(RULES)), st.sampled_from(SETS))
def test_random_networks(case, rule, adaptable):
    holds(case, rule, adaptable)


@pytest.mark.slow
@MANY
@given(networks(), st.sampled_from(sorted(RULES)), st.sampled_from(SETS))
def test_many_random_networks(case, rule, adaptable):
    holds(case, rule, adaptable)


def test_a_broken_gradient_is_found_by_them(monkeypatch):
    """These tests can fail: a convolution's weight gradient off by a percent does not pass."""
    from regrow_exporter.ops import VJP

    right = VJP["conv2d"]

    def wrong(g, op, dys, need):
        made = list(right(g, op, dys, need))
        if made[1]:
            made[1] = g.one("mul", made[1], g.constant(1.01))
        return made

    monkeypatch.setitem(VJP, "conv2d", wrong)
    with pytest.raises(UnsupportedError, match="verify: gradient"):
        FIRST(given(networks())(lambda case: holds(case, "sgd", ["*"])))()
