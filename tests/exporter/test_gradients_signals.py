"""Signals, depthwise convolutions, padding, average pools: against torch in fp64, and the engine."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import torch.nn.functional as F
from torch import nn

from regrow.errors import UnsupportedError
from regrow_exporter.ops import conv
from tests.exporter.probe import agrees

FEW = settings(max_examples=8, deadline=None, derandomize=True)


@st.composite
def signals(draw):
    """A conv1d and the shape of its input."""
    groups = draw(st.sampled_from([1, 1, 2]))
    inside, outside = draw(st.integers(1, 2)) * groups, draw(st.integers(1, 3)) * groups
    kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    padding = draw(st.sampled_from([0, 1, "valid", "same"]))
    stride = 1 if padding == "same" else draw(st.integers(1, 3))
    size = dilation * (kernel - 1) + draw(st.integers(1, 5))
    module = nn.Conv1d(inside, outside, kernel, stride, padding, dilation, groups, draw(st.booleans()))
    return module, (inside, size)


@FEW
@given(signals(), st.integers(2, 4))
def test_conv1d(case, batch):
    module, shape = case
    agrees(module, torch.randn(batch, *shape))


@pytest.mark.parametrize("kernel", [(2, 3), (3, 4), (1, 1)])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_conv2d_that_keeps_the_size(kernel):
    agrees(nn.Conv2d(2, 3, kernel, padding="same", dilation=(1, 3)), torch.randn(3, 2, 4, 5))


@pytest.mark.parametrize("size", [(5, 5), (6, 7), (1, 2)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_depthwise_convolutions_with_a_multiplier(multiplier, stride, size):
    module = nn.Conv2d(2, 2 * multiplier, 3, stride, padding=1, groups=2, bias=False)
    agrees(module, torch.randn(3, 2, *size))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("width", "threshold"), [(40, 0), (2, 1 << 30), (2, 0)])
def test_every_encoding_of_a_weight_gradient(stride, width, threshold, monkeypatch):
    """One product, unfolded by sample, and tap by tap: chosen by size, so small ones have to be forced."""
    monkeypatch.setattr(conv, "_UNFOLD_BYTES", threshold)
    agrees(nn.Conv2d(2, width, 3, stride, padding=1), torch.randn(3, 2, 6, 7))


@FEW
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(3, 7), st.booleans())
def test_pools_over_signals(kernel, stride, padding, size, ties):
    x = torch.randn(3, 2, size)
    x = x.round() if ties else x
    padding = min(padding, kernel // 2)
    agrees(lambda v: F.max_pool1d(v, kernel, stride, padding), x)
    agrees(lambda v: F.avg_pool1d(v, kernel, stride, padding, count_include_pad=ties), x)


@st.composite
def averages(draw):
    """An average pool and the shape of its input."""
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    stride = draw(st.sampled_from([None, 1, 2, (1, 3)]))
    padding = tuple(min(draw(st.integers(0, 1)), k // 2) for k in kernel)
    module = nn.AvgPool2d(kernel, stride, padding, count_include_pad=draw(st.booleans()))
    return module, (2, draw(st.integers(3, 6)), draw(st.integers(3, 6)))


@FEW
@given(averages())
def test_avg_pool2d(case):
    module, shape = case
    agrees(module, torch.randn(3, *shape))


@pytest.mark.parametrize("size", [1, 2, (4, 3), (2, None), (4, 6)])
def test_adaptive_avg_pool2d(size):
    agrees(nn.AdaptiveAvgPool2d(size), torch.randn(3, 2, 4, 6))


@pytest.mark.parametrize("size", [1, 3, 6])
def test_adaptive_avg_pool1d(size):
    agrees(nn.AdaptiveAvgPool1d(size), torch.randn(3, 2, 6))


def test_ceil_mode_that_changes_nothing():
    x = torch.randn(3, 2, 6, 7)
    agrees(lambda v: F.avg_pool2d(v, (2, 3), (2, 2), ceil_mode=True), x)
    agrees(lambda v: F.max_pool2d(v, (2, 3), (2, 2), ceil_mode=True), x)


def test_borders():
    agrees(lambda v: F.pad(F.pad(v, (1, 0, 2, 1)), (0, 1), value=0.5).square(), torch.randn(3, 2, 3, 4))
    agrees(nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(2, 3, 3)), torch.randn(3, 2, 5))


@pytest.mark.parametrize(
    ("op", "what"),
    [
        (nn.MaxPool2d(2, ceil_mode=True), "set ceil_mode=False"),
        (nn.AvgPool2d(2, ceil_mode=True), "set ceil_mode=False"),
        (nn.MaxPool2d(2, dilation=2), "dilation=1"),
        (nn.AvgPool2d(2, divisor_override=3), "scale the result"),
        (nn.AdaptiveAvgPool2d(2), "divides the input"),
        (nn.ReflectionPad2d(1), "mode='constant'"),
        (nn.ZeroPad2d(-1), "slices"),
    ],
)
def test_what_is_refused_comes_with_a_remedy(op, what):
    with pytest.raises(UnsupportedError, match=what):
        agrees(op, torch.randn(3, 2, 5, 5))
