"""Each op's gradient op against central differences of its forward op, in fp64, without torch."""

import numpy as np
import pytest

from regrow.ops import OPS
from regrow.program import Value
from tests.runtime.differences import close, differences, run

CONV = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
STRIDED = {"stride": (2, 3), "padding": (2, 1), "dilation": (2, 1), "groups": 2}
POOL = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
OVERLAP = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0)}
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("attrs", [CONV, STRIDED], ids=["plain", "strided, dilated, grouped"])
def test_conv2d_gradients(attrs):
    x, w = RNG.normal(size=(2, 4, 6, 7)), RNG.normal(size=(4, 4 // attrs["groups"], 3, 2))
    dy = RNG.normal(size=run("conv2d", [x, w], **attrs)[0].shape)
    dx = run("conv2d_dx", [dy, w], size=x.shape[2:], **attrs)[0]
    dw = run("conv2d_dw", [dy, x], kernel=w.shape[2:], **attrs)[0]
    close(dx, differences(lambda v: run("conv2d", [v, w], **attrs)[0], x, dy))
    close(dw, differences(lambda v: run("conv2d", [x, v], **attrs)[0], w, dy))


@pytest.mark.parametrize("attrs", [POOL, OVERLAP], ids=["2x2", "overlapping, padded"])
def test_max_pool2d_gradient(attrs):
    x = RNG.permutation(2 * 3 * 7 * 6).reshape(2, 3, 7, 6) * 0.1  # no ties: differences need a margin
    y = run("max_pool2d", [x], **attrs)[0]
    dy = RNG.normal(size=y.shape)
    dx = run("max_pool2d_back", [dy, x, y], **attrs)[0]
    close(dx, differences(lambda v: run("max_pool2d", [v], **attrs)[0], x, dy))


def test_max_pool2d_tie_goes_to_the_first():
    x = np.zeros((1, 1, 2, 2))
    dx = run("max_pool2d_back", [np.ones((1, 1, 1, 1)), x, np.zeros((1, 1, 1, 1))], **POOL)[0]
    assert dx.ravel().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("shape", [(5, 3, 2, 2), (4, 3), (2, 3, 1)])
def test_batch_norm_gradients(shape):
    x, gamma, beta = RNG.normal(size=shape), RNG.normal(size=3), RNG.normal(size=3)
    forward = lambda *v: run("batch_norm", v, eps=1e-5)  # noqa: E731
    _, mean, var = forward(x, gamma, beta)
    dy = RNG.normal(size=shape)
    dx, dgamma, dbeta = run("batch_norm_back", [dy, x, gamma, mean, var], eps=1e-5)
    close(dx, differences(lambda v: forward(v, gamma, beta)[0], x, dy))
    close(dgamma, differences(lambda v: forward(x, v, beta)[0], gamma, dy))
    close(dbeta, differences(lambda v: forward(x, gamma, v)[0], beta, dy))


def test_batch_norm_frozen_gradients():
    x, gamma, beta = RNG.normal(size=(3, 2, 4)), RNG.normal(size=2), RNG.normal(size=2)
    mean, var = RNG.normal(size=2), RNG.random(2) + 0.1
    forward = lambda *v: run("batch_norm_frozen", [*v, mean, var], eps=1e-5)[0]  # noqa: E731
    dy = RNG.normal(size=x.shape)
    dx, dgamma, dbeta = run("batch_norm_frozen_back", [dy, x, gamma, mean, var], eps=1e-5)
    close(dx, differences(lambda v: forward(v, gamma, beta), x, dy))
    close(dgamma, differences(lambda v: forward(x, v, beta), gamma, dy))
    close(dbeta, differences(lambda v: forward(x, gamma, v), beta, dy))


def test_batch_norm_of_one_value_is_its_shift():
    y, mean, var = run("batch_norm", [np.full((1, 2), 3.0), np.ones(2), np.array([0.5, -1.0])], eps=1e-5)
    assert y.tolist() == [[0.5, -1.0]]
    assert mean.tolist() == [3.0, 3.0]
    assert var.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("kind", "attrs", "from_output"),
    [("relu", {}, True), ("tanh", {}, True), ("leaky_relu", {"slope": 0.2}, False)],
)
def test_activation_gradients(kind, attrs, from_output):
    x = RNG.normal(size=(4, 5))
    y = run(kind, [x], **attrs)[0]
    dy = RNG.normal(size=x.shape)
    dx = run(f"{kind}_back", [dy, y if from_output else x], **attrs)[0]
    close(dx, differences(lambda v: run(kind, [v], **attrs)[0], x, dy))


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("kind", ["reduce_sum", "reduce_mean"])
def test_reduction_gradients(kind, keepdims):
    x = RNG.normal(size=(3, 4, 2))
    attrs = {"axes": (0, 2), "keepdims": keepdims}
    dy = RNG.normal(size=run(kind, [x], **attrs)[0].shape)
    close(run(f"{kind}_back", [dy, x], **attrs)[0], differences(lambda v: run(kind, [v], **attrs)[0], x, dy))


def test_cross_entropy_gradient_and_unused_outputs():
    logits, y = RNG.normal(size=(6, 5)), np.array([0, 1, 3, 0, 1, 3])
    active = np.array([True, True, False, True, False])
    _, p = run("cross_entropy", [logits, y, active])
    assert (p[:, ~active] == 0).all()
    np.testing.assert_allclose(p.sum(1), 1)
    found = run("cross_entropy_back", [np.array(1.0), p, y])[0]
    close(found, differences(lambda v: run("cross_entropy", [v, y, active])[0], logits, np.array(1.0)))
    assert (found[:, ~active] == 0).all()


def test_mse_gradient():
    p, y = RNG.normal(size=(4, 2)), RNG.normal(size=(4, 2))
    found = run("mse_back", [np.array(2.0), p, y])[0]
    close(found, differences(lambda v: run("mse", [v, y])[0], p, np.array(2.0)))


def test_select_keeps_what_is_not_chosen_whatever_the_other_side_is():
    out = run("select", [np.array([True, False]), np.array([1.0, np.inf]), np.array([5.0, 7.0])])[0]
    assert out.tolist() == [1.0, 7.0]


def test_wrong_shapes_are_refused_where_they_are_declared():
    with pytest.raises(ValueError, match="4 channels"):
        OPS["conv2d"].shape([Value((-1, 4, 5, 5)), Value((2, 3, 3, 3))], CONV)
    with pytest.raises(ValueError, match="does not hold"):
        OPS["reshape"].shape([Value((-1, 4))], {"shape": (-1, 5)})
    with pytest.raises(ValueError, match="do not broadcast"):
        OPS["add"].shape([Value((2, 3)), Value((2, 4))], {})
