"""Central differences in fp64, which every gradient op is held against."""

import numpy as np

from regrow.ops import OPS


def run(kind, inputs, **attrs):
    """Outputs of an op's reference."""
    return OPS[kind].forward(list(inputs), attrs)


def differences(function, x, dy):
    """d(sum(dy * f(x)))/dx by central differences."""
    grad = np.zeros_like(x)
    for at in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[at] = 1e-6
        grad[at] = ((function(x + step) - function(x - step)) * dy).sum() / 2e-6
    return grad


def close(found, expected):
    """Equal up to what a difference of two numbers loses."""
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
