"""Every gradient rule of the table, on random shapes and on awkward ones, in fp64 against torch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch.nn.functional as F
from torch import nn

from regrow_exporter import coverage
from regrow_exporter.ops import MODULES, VJP
from tests.exporter.probe import exact

MANY = settings(max_examples=40, deadline=None, derandomize=True, database=None)


class With(nn.Module):
    """An op of the input and of parameters of its own, of given shapes."""

    def __init__(self, op, *shapes):
        super().__init__()
        self.op = op
        self.own = nn.ParameterList(nn.Parameter(torch.rand(shape) + 0.5) for shape in shapes)

    def forward(self, x):
        return self.op(x, *self.own)


def uneven(module):
    """Scales, shifts and running statistics that are not one and zero."""
    for tensor in (*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())):
        nn.init.uniform_(tensor, 0.5, 2)
    return module


def plain(op):
    return lambda c, h, w: op


def binary(op):
    """Operands on either side, one of which is broadcast."""
    return lambda c, h, w: With(
        lambda x, p, q: op(op(x.abs() + 0.5, p), op(q, x * x + 1.0)), (h, 1), (c, 1, w)
    )


def convolution(c, h, w):
    groups = c if c > 1 else 1
    kernel = (min(3, h), min(2, w))
    return nn.Conv2d(c, 2 * c, kernel, stride=2, padding=(1, 0), groups=groups)


def max_pool(c, h, w):
    # Overlapping windows; in a channel without variance all of a window are tied.
    kernel = (min(3, h), min(2, w))
    return lambda x: F.max_pool2d(x, kernel, 1, (kernel[0] // 2, 0))


def norm(make, evaluated=False):
    return lambda c, h, w: uneven(make(c)).train(not evaluated)


# For (channels, height, width), any of which may be one: what to run on (batch, channels, height, width).
CHECKS = {
    "relu": plain(torch.relu),
    "leaky_relu": plain(lambda x: F.leaky_relu(x, 0.2)),
    "tanh": plain(torch.tanh),
    "sigmoid": plain(torch.sigmoid),
    "silu": plain(F.silu),
    "hardsigmoid": plain(lambda x: F.hardsigmoid(3 * x)),
    "hardswish": plain(lambda x: F.hardswish(3 * x)),
    "elu": plain(F.elu),
    "softplus": plain(F.softplus),
    "gelu": plain(F.gelu),
    "add": binary(torch.add),
    "sub": binary(torch.sub),
    "mul": binary(torch.mul),
    "div": binary(torch.div),
    "neg": plain(lambda x: torch.neg(x) * x),
    "pow_tensor": binary(torch.pow),
    "select": lambda c, h, w: With(lambda x, p: torch.where(x > 0, p, x), (c, 1, w)),
    "identity": plain(lambda x: x.detach() * x),
    "avg_pool2d": lambda c, h, w: nn.AvgPool2d((min(2, h), 1), 1, (min(2, h) // 2, 0)),
    "batch_norm": norm(lambda c: nn.BatchNorm2d(c, track_running_stats=False)),
    "batch_norm_frozen": norm(nn.BatchNorm2d, evaluated=True),
    "normalize": norm(lambda c: nn.GroupNorm(1, c)),
    "conv2d": convolution,
    "exp": plain(torch.exp),
    "log": plain(lambda x: torch.log(x.abs() + 0.5)),
    "sqrt": plain(lambda x: torch.sqrt(x.abs() + 0.5)),
    "abs": plain(torch.abs),
    "sign": plain(lambda x: torch.sign(x) * x),
    "clip": plain(lambda x: x.clamp(-0.5, 0.75)),
    "expand": lambda c, h, w: With(lambda x, p: x * p.expand(2, c, 1, w).sum(0), (c, 1, w)),
    "linear": lambda c, h, w: nn.Linear(w, 3),
    "matmul": lambda c, h, w: With(lambda x, p: x.flatten(1) @ p, (c * h * w, 2)),
    "batch_matmul": plain(lambda x: torch.matmul(x, x.transpose(2, 3))),
    "cast": plain(lambda x: (x > 0).float() * x),
    "concat": plain(lambda x: torch.cat([x, x * x, x], 2)),
    "split": plain(lambda x: torch.chunk(torch.cat([x, x * x], 1), 2, 1)[1]),
    "slice": plain(lambda x: (x * x).flatten(1)[:, 1:]),
    "max_pool2d": max_pool,
    "reshape": plain(lambda x: x.reshape(x.shape[0], -1, 1)),
    "permute": plain(lambda x: x.permute(0, 3, 1, 2)),
    "reduce_sum": plain(lambda x: x.sum((1, 3))),
    "reduce_mean": plain(lambda x: x.mean((2,), keepdim=True) * x),
    "softmax": plain(lambda x: F.softmax(x, 3)),
    "log_softmax": plain(lambda x: F.log_softmax(x, 1)),
}
LOSSES = {
    "cross_entropy": ("cross_entropy", {}),
    "cross_entropy_soft": ("cross_entropy", {"label_smoothing": 0.2, "weight": [1.0, 2.0, 0.5]}),
    "mse": ("mse", {}),
    "bce": ("bce", {}),
}


def test_every_rule_of_the_table_has_a_check_here():
    assert {*CHECKS, *LOSSES} == set(VJP)
    page = coverage.document()
    assert all(f"`{kind}`" in page for module in MODULES for kind in module.VJP)


def held(kind, batch, sizes, constant):
    x = torch.randn(batch, *sizes, generator=torch.Generator().manual_seed(batch + sum(sizes)))
    if constant:
        # A channel without variance, at a power of two so that its mean is exact, and a value on most kinks.
        x[:, 0] = 0.25
        x[0, -1] = 0.0
    programs, _ = exact(CHECKS[kind](*sizes), x)
    assert kind in {op.kind for op in programs.gradient.ops}


SIZES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 4))
ONES = [(3, 1, 2), (1, 4, 1)]


@pytest.mark.parametrize("kind", CHECKS)
def test_axes_of_size_one_and_no_variance(kind):
    for sizes in ONES:
        held(kind, 3, sizes, constant=True)


DRAWN = given(batch=st.integers(2, 4), sizes=SIZES, constant=st.booleans())


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHECKS)
@MANY
@DRAWN
def test_random_shapes(kind, batch, sizes, constant):
    held(kind, batch, sizes, constant)


@pytest.mark.parametrize("kind", LOSSES)
def test_losses(kind):
    for batch in (2, 5):
        programs, _ = exact(torch.tanh, torch.randn(batch, 3, 1), *LOSSES[kind])
        assert kind in {op.kind for op in programs.gradient.ops}
