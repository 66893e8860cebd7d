"""Gradients of activations, elementary functions, softmax, norms and average pools against differences."""

import math

import numpy as np
import pytest

from regrow.ops import OPS
from regrow.program import Value
from tests.runtime.differences import close, differences, run

RNG = np.random.default_rng(0)
# kind, attributes, whether the gradient op reads the output
ACTIVATIONS = [
    ("sigmoid", {}, True),
    ("silu", {}, False),
    ("hardsigmoid", {}, False),
    ("hardswish", {}, False),
    ("elu", {"alpha": 0.7}, True),
    ("softplus", {"beta": 1.5, "threshold": 20.0}, False),
    ("gelu", {"approximate": "none"}, False),
    ("gelu", {"approximate": "tanh"}, False),
    ("clip", {"low": -0.5, "high": 1.0, "closed": True}, False),
    ("clip", {"low": 0.0, "closed": False}, True),
    ("clip", {"high": 0.3, "closed": False}, True),
]


@pytest.mark.parametrize(("kind", "attrs", "from_output"), ACTIVATIONS)
def test_activation_gradients(kind, attrs, from_output):
    x = RNG.normal(size=(4, 6)) * 4
    y = run(kind, [x], **attrs)[0]
    dy = RNG.normal(size=x.shape)
    dx = run(f"{kind}_back", [dy, y if from_output else x], **attrs)[0]
    close(dx, differences(lambda v: run(kind, [v], **attrs)[0], x, dy))


@pytest.mark.parametrize(
    ("kind", "attrs", "x", "wanted"),
    [
        ("hardsigmoid", {}, [-3.0, 3.0], [0.0, 0.0]),
        ("hardswish", {}, [-3.0, 3.0], [0.0, 1.0]),
        ("clip", {"low": -1.0, "high": 1.0, "closed": True}, [-1.0, 1.0], [1.0, 1.0]),
        ("clip", {"low": -1.0, "high": 1.0, "closed": False}, [-1.0, 1.0], [0.0, 0.0]),
        ("softplus", {"beta": 1.0, "threshold": 20.0}, [20.5], [1.0]),
    ],
)
def test_on_a_kink_the_gradient_takes_the_side_torch_takes(kind, attrs, x, wanted):
    assert run(f"{kind}_back", [np.ones(len(x)), np.array(x)], **attrs)[0].tolist() == wanted


def test_activations_stay_finite_far_out():
    x = np.array([-800.0, 800.0])
    for kind, attrs, from_output in ACTIVATIONS:
        y = run(kind, [x], **attrs)[0]
        dx = run(f"{kind}_back", [np.ones(2), y if from_output else x], **attrs)[0]
        assert np.isfinite([*y, *dx]).all(), kind


def test_branches_are_told_apart():
    x = np.array([-4.0, -1.0, 0.5, 4.0])
    for kind, attrs in (("hardswish", {}), ("clip", {"low": -3.0, "high": 3.0, "closed": True})):
        taken = OPS[kind].decide([x], [], attrs)
        assert taken.tolist() == [0, 1, 1, 2]
    assert OPS["abs"].decide([x], [], {}).tolist() == [False, False, True, True]


@pytest.mark.parametrize("kind", ["exp", "log", "sqrt", "abs", "sign"])
def test_elementary_functions(kind):
    x = np.array([0.5, 1.0, 2.0])
    by_math = {"abs": abs, "sign": lambda v: math.copysign(1, v)}
    wanted = [(by_math.get(kind) or getattr(math, kind))(v) for v in x]
    np.testing.assert_allclose(run(kind, [x])[0], wanted, rtol=1e-15)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", ["softmax", "log_softmax"])
def test_softmax_gradients(kind, axis):
    x = RNG.normal(size=(3, 4, 2))
    y = run(kind, [x], axis=axis)[0]
    dy = RNG.normal(size=x.shape)
    total = (y if kind == "softmax" else np.exp(y)).sum(axis)
    np.testing.assert_allclose(total, np.ones_like(total))
    dx = run(f"{kind}_back", [dy, y], axis=axis)[0]
    close(dx, differences(lambda v: run(kind, [v], axis=axis)[0], x, dy))


def test_softmax_of_huge_numbers_is_finite():
    assert run("softmax", [np.array([[1e4, 0.0]])], axis=1)[0].tolist() == [[1.0, 0.0]]
    assert run("log_softmax", [np.array([[1e4, 0.0]])], axis=1)[0].tolist() == [[0.0, -1e4]]


@pytest.mark.parametrize(("shape", "axis"), [((3, 4, 5), 2), ((2, 3, 4), 1), ((4, 6), 1), ((2, 2, 1), 2)])
def test_normalize_gradient(shape, axis):
    x, dy = RNG.normal(size=shape), RNG.normal(size=shape)
    y, rstd = run("normalize", [x], axis=axis, eps=1e-5)
    assert [v.shape for v in OPS["normalize"].shape([Value(shape)], {"axis": axis})] == [y.shape, rstd.shape]
    dx = run("normalize_back", [dy, y, rstd], axis=axis)[0]
    close(dx, differences(lambda v: run("normalize", [v], axis=axis, eps=1e-5)[0], x, dy))


def test_normalize_without_variance_is_zero():
    y, rstd = run("normalize", [np.full((2, 3), 4.0)], axis=1, eps=0.25)
    assert not y.any()
    assert rstd.tolist() == [[2.0], [2.0]]


AVERAGES = [
    {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "count_padding": True},
    {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 1), "count_padding": True},
    {"kernel": (3, 2), "stride": (1, 3), "padding": (1, 0), "count_padding": False},
]


@pytest.mark.parametrize("attrs", AVERAGES, ids=["2x2", "overlapping, padded", "border not counted"])
def test_avg_pool2d_gradient(attrs):
    x = RNG.normal(size=(2, 3, 5, 6))
    y = run("avg_pool2d", [x], **attrs)[0]
    assert OPS["avg_pool2d"].shape([Value(x.shape)], attrs)[0].shape == y.shape
    dy = RNG.normal(size=y.shape)
    dx = run("avg_pool2d_back", [dy], size=(5, 6), **attrs)[0]
    close(dx, differences(lambda v: run("avg_pool2d", [v], **attrs)[0], x, dy))


def test_an_uncounted_border_leaves_a_constant_alone():
    y = run("avg_pool2d", [np.ones((1, 1, 4, 4))], **AVERAGES[2])[0]
    np.testing.assert_allclose(y, 1.0)
