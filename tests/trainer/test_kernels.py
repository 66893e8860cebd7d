"""The trainer's own derivatives of convolution and batch norm: against differences, and against torch's."""

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn import functional as F

from regrow_trainer.kernels import fast
from regrow_trainer.kernels.apply import apply
from regrow_trainer.kernels.conv import Forward, Geometry
from regrow_trainer.kernels.norm import Normed


def conv2d(
    x: Any, w: Any, b: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    pairs = (t if isinstance(t, tuple) else (t, t) for t in (stride, padding, dilation))
    return apply(Forward, x, w, b, Geometry(*pairs, groups))


def batch_norm(x: Any, w: Any, b: Any) -> Any:
    return apply(Normed, x, w, b, 1e-5)


GEOMETRIES = [
    {"padding": 1},
    {"stride": 2, "padding": 1},
    {"stride": (1, 2), "padding": (0, 1)},
    {"dilation": 2, "padding": 2},
    {"groups": 2, "padding": 1},
]


def drawn(*shape: int) -> Any:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_first_and_second_derivatives_of_a_convolution_are_those_of_differences(geometry: Any) -> None:
    inputs = (drawn(2, 2, 5, 4), drawn(2, 2 // geometry.get("groups", 1), 3, 3), drawn(2))
    torch.testing.assert_close(conv2d(*inputs, **geometry), F.conv2d(*inputs, **geometry))
    assert torch.autograd.gradcheck(lambda *t: conv2d(*t, **geometry), inputs)
    assert torch.autograd.gradgradcheck(lambda *t: conv2d(*t, **geometry), inputs)


@pytest.mark.parametrize("shape", [(6, 2), (3, 2, 4), (2, 2, 3, 2)])
def test_first_and_second_derivatives_of_a_batch_norm_are_those_of_differences(shape: Any) -> None:
    inputs = (drawn(*shape), drawn(2), drawn(2))
    wanted = F.batch_norm(inputs[0], None, None, *inputs[1:], True, 0.0)
    torch.testing.assert_close(batch_norm(*inputs), wanted)
    assert torch.autograd.gradcheck(batch_norm, inputs)
    assert torch.autograd.gradgradcheck(batch_norm, inputs)


@pytest.mark.parametrize("shared", [(), (0,), (1,), (0, 1)], ids=str)
def test_mapped_over_tasks_each_has_its_own_weights(shared: tuple[int, ...]) -> None:
    """Inputs that all tasks share are mapped as well; derivatives go back to every task's own."""
    x, w, b, scale, shift = drawn(4, 3, 2, 5, 5), drawn(4, 6, 2, 3, 3), drawn(4, 6), drawn(4, 6), drawn(4, 6)
    dims = [None if i in shared else 0 for i in range(2)]
    x, w = (t[0].detach().requires_grad_() if d is None else t for t, d in zip((x, w), dims, strict=True))

    def layer(x: Any, w: Any, b: Any, scale: Any, shift: Any) -> Any:
        y = F.conv2d(x, w, b, stride=2, padding=1)
        return F.batch_norm(y, None, None, scale, shift, True, 0.0)

    inputs = (x, w, b, scale, shift)
    mapped = torch.func.vmap(layer, (*dims, 0, 0, 0))
    found = []
    for own in (False, True):
        if own:
            with fast():
                y = mapped(*inputs)
        else:
            y = mapped(*inputs)
        grads = torch.autograd.grad((y**3).sum(), inputs, create_graph=True)
        found.append([y, *grads, *torch.autograd.grad(sum((g**2).sum() for g in grads), inputs)])
    for own, torchs in zip(*found, strict=True):
        torch.testing.assert_close(own, torchs, rtol=1e-9, atol=1e-9)


def test_what_is_not_its_own_is_left_to_torch() -> None:
    x = torch.randn(2, 3, 6, 6)
    same = nn.Conv2d(3, 4, 3, padding="same")
    running = nn.BatchNorm2d(3).eval()
    bare = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    for module, value in ((same, x), (same, x[0]), (running, x), (bare, x)):
        wanted = module(value)
        with fast():
            assert torch.equal(module(value), wanted)


def test_single_precision_loses_no_more_than_torch() -> None:
    """Means far from zero: a variance as a difference of squares would be wrong in the third digit."""
    x = torch.randn(64, 8, 4, 4) + 30
    weight, bias = torch.rand(8), torch.rand(8)
    exact = F.batch_norm(x.double(), None, None, weight.double(), bias.double(), True)
    found = batch_norm(x, weight, bias)
    assert float((found - exact).abs().max()) < 1e-5
