"""Each gradient rule against torch autograd in fp64, on random shapes and the awkward cases."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import torch.nn.functional as F
from torch import nn

from regrow_exporter import verify
from regrow_exporter.drafting import environment
from regrow_exporter.programs import Learner, build
from regrow_trainer.rules.sgd import sgd
from tests.exporter.probe import agrees

FEW = settings(max_examples=8, deadline=None, derandomize=True)


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    inside, outside = draw(st.integers(1, 2)) * groups, draw(st.integers(1, 3)) * groups
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    padding = (draw(st.integers(0, 2)), draw(st.integers(0, 1)))
    size = [dilation * (k - 1) + draw(st.integers(1, 4)) for k in kernel]
    module = nn.Conv2d(inside, outside, kernel, stride, padding, dilation, groups, draw(st.booleans()))
    return module, (inside, *size)


@FEW
@given(convolutions(), st.integers(2, 4))
def test_conv2d(case, batch):
    module, shape = case
    agrees(module, torch.randn(batch, *shape))


@FEW
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(3, 6), st.booleans())
def test_max_pool2d(kernel, stride, padding, size, ties):
    x = torch.randn(3, 2, size, size + 1)
    # Rounding to a few values makes most windows a tie.
    x = x.round() if ties else x
    agrees(lambda v: F.max_pool2d(v, kernel, stride, min(padding, kernel // 2)), x)


@FEW
@given(st.sampled_from([(1, 1, 1), (3, 2, 2), (2, 1, 4), (4,), (1,)]), st.integers(2, 5), st.booleans())
def test_batch_norm(shape, batch, constant):
    norm = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    module = norm(shape[0], track_running_stats=False)
    nn.init.uniform_(module.weight, 0.5, 2)
    x = torch.randn(batch, *shape)
    if constant:
        x[:, 0] = 0.25  # no variance in one channel; a power of two, so that the mean is exact
    agrees(module, x)


@FEW
@given(st.sampled_from(["relu", "leaky_relu", "tanh"]), st.integers(2, 4), st.integers(1, 6))
def test_activations(kind, batch, width):
    x = torch.randn(batch, width)
    x[0, 0] = 0.0  # on the kink torch and we take the same side
    agrees(getattr(F, kind) if kind == "leaky_relu" else getattr(torch, kind), x)


@FEW
@given(st.sampled_from(["sum", "mean"]), st.booleans(), st.sampled_from([(1,), (2, 3), (-1,), (1, 3)]))
def test_reductions(kind, keep, dims):
    agrees(lambda v: getattr(torch, kind)(v, dims, keepdim=keep), torch.randn(3, 2, 4, 3))


class Broadcast(nn.Module):
    """A parameter of a smaller shape on either side of an arithmetic op."""

    def __init__(self, kind, shape):
        super().__init__()
        self.kind = kind
        self.other = nn.Parameter(torch.rand(shape) + 1.0)

    def forward(self, x):
        return getattr(torch, self.kind)(x, self.other) - getattr(torch, self.kind)(self.other, x * x + 1)


@FEW
@given(st.sampled_from(["add", "sub", "mul", "div"]), st.sampled_from([(4,), (3, 1), (1, 4), (2, 3, 4), ()]))
def test_broadcasting(kind, shape):
    agrees(Broadcast(kind, shape), torch.rand(2, 2, 3, 4) + 0.5)


class Shared(nn.Module):
    """One layer used twice, between reshapes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        flat = x.transpose(1, 2).reshape(x.shape[0], -1)
        return self.layer(self.layer(flat)).reshape(-1, 2, 2).permute(0, 2, 1)


def test_reshape_permute_and_shared_weights():
    agrees(Shared(), torch.randn(3, 2, 2))


def test_mse_and_linear_without_bias():
    module = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 2))
    names = tuple(n for n, _ in module.named_parameters())
    rule = sgd(0.1)
    learner = Learner(module, (3,), names, rule, rule.meta({}), "mse", {})
    programs = build(learner)
    verify.verify(learner, programs, environment(learner, programs), 2)
