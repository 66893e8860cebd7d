"""Activations, elementary functions, softmax and norms against torch in fp64, and the engine against them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import torch.nn.functional as F
from torch import nn

from regrow.errors import UnsupportedError
from tests.exporter.probe import agrees

FEW = settings(max_examples=8, deadline=None, derandomize=True)
ACTIVATIONS = {
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "softplus": F.softplus,
    "steep softplus": lambda x: F.softplus(x, beta=2.5, threshold=25),
    "log sigmoid": F.logsigmoid,
    "mish": F.mish,
    "in place": lambda x: F.hardswish(F.silu(F.relu6(x * 1.5, inplace=True), inplace=True), inplace=True),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations(kind):
    x = torch.randn(4, 3, 5) * 3
    x[0, 0] = torch.tensor([-3.0, 0.0, 3.0, 6.0, 25.0])  # kinks, and where softplus turns straight
    x[1, 0] = torch.tensor([-300.0, -90.0, -20.0, 90.0, 300.0])  # where exp overflows or vanishes
    agrees(ACTIVATIONS[kind], x)


@pytest.mark.parametrize(("shape", "slopes"), [((3, 2), 3), ((3, 2), 1), ((4,), 4)])
def test_a_learned_slope(shape, slopes):
    module = nn.PReLU(slopes)
    nn.init.uniform_(module.weight, 0.1, 0.9)
    x = torch.randn(3, *shape)
    x[0, 0] = 0.0
    agrees(module, x)


def test_clamp_lets_gradients_through_on_its_bounds():
    x = torch.randn(4, 6)
    x[0, :3] = torch.tensor([-1.0, 0.5, 2.0])
    agrees(lambda v: v.clamp(-1, 0.5) + v.clamp(min=2) + v.clamp_max(0.5) * v.clip(-1), x)


def test_elementary_functions():
    x = torch.rand(4, 6) + 0.5
    agrees(lambda v: torch.exp(v) + torch.log(v) + torch.sqrt(v) * torch.rsqrt(v + 1) + 1 / v, x)
    agrees(lambda v: torch.square(v) + v**2 + v**0.5 + v**3 + v**-2 + v**1.5 + v**-1 + v**0, x)


def test_absolute_value_and_sign():
    x = torch.randn(4, 6)
    x[0, 0] = 0.0
    agrees(lambda v: v.abs() + v.sign() * v, x)


@FEW
@given(st.sampled_from([F.softmax, F.log_softmax]), st.sampled_from([1, 2, -1]), st.sampled_from([1, 4]))
def test_softmax(function, dim, width):
    agrees(lambda v: function(v, dim), torch.randn(3, 2, width) * 5)


def uneven(norm):
    """A norm whose scale and shift are not one and zero."""
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 2)
    return norm


@FEW
@given(st.sampled_from([(4, 3, 2), (4, 1, 1), (4, 5), (4,)]), st.sampled_from([1, 2, 4]), st.booleans())
def test_group_norm(shape, groups, affine):
    if shape == (4,) and groups == 4:
        groups = 2  # torch refuses one value per group
    agrees(uneven(nn.GroupNorm(groups, 4, affine=affine)), torch.randn(3, *shape))


@FEW
@given(st.sampled_from([(3, 4, 2), (2, 1, 3), (1, 5), (6,)]), st.integers(1, 3), st.integers(0, 2))
def test_layer_norm(shape, count, kind):
    norm = nn.LayerNorm(shape[-count:], elementwise_affine=kind > 0, bias=kind > 1)
    agrees(uneven(norm), torch.randn(3, *shape))


@FEW
@given(st.sampled_from([(3, 4, 2), (2, 1, 3), (3, 5), (1, 2)]), st.booleans(), st.booleans())
def test_instance_norm(shape, affine, tracked):
    norm = nn.InstanceNorm2d if len(shape) == 3 else nn.InstanceNorm1d
    agrees(uneven(norm(shape[0], affine=affine, track_running_stats=tracked)), torch.randn(3, *shape))


@pytest.mark.parametrize("affine", [True, False])
def test_instance_norm_on_running_statistics(affine):
    norm = uneven(nn.InstanceNorm2d(3, affine=affine, track_running_stats=True))
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    agrees(norm.eval(), torch.randn(3, 3, 2, 2))


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.LayerNorm((4, 2, 2)), nn.InstanceNorm2d(4)])
def test_a_sample_without_variance(norm):
    x = torch.randn(3, 4, 2, 2)
    x[0] = 0.25  # a power of two, so that the mean is exact
    agrees(norm, x)


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.LayerNorm((4, 2, 3)), nn.InstanceNorm2d(4)])
def test_a_mean_far_from_zero_costs_no_digits_of_the_variance(norm):
    agrees(norm, torch.randn(3, 4, 2, 3) + 30)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_without_scale_and_shift(training):
    norm = nn.BatchNorm2d(3, affine=False)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    agrees(norm.train(training), torch.randn(4, 3, 2, 3))


@pytest.mark.parametrize(
    ("op", "what"),
    [
        (lambda v: F.elu(v, -1.0), "use alpha > 0"),
        (lambda v: F.softplus(v, threshold=5), "a threshold from 20 on"),
        (lambda v: F.softmax(v, 0), "a dimension within a sample"),
        (lambda v: v.clamp(max=v.shape[0]), "give it as a number"),
    ],
)
def test_what_is_refused_comes_with_a_remedy(op, what):
    with pytest.raises(UnsupportedError, match=what):
        agrees(op, torch.randn(3, 4))
