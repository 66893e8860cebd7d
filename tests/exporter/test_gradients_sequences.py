"""Pieces, products, attention, recurrence and selection: torch in fp64, and the engine."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import torch.nn.functional as F
from torch import nn

from tests.exporter.probe import agrees

FEW = settings(max_examples=5, deadline=None, derandomize=True)


class With(nn.Module):
    """An op of the input and of parameters of these shapes."""

    def __init__(self, op, *shapes):
        super().__init__()
        torch.manual_seed(2)
        self.op = op
        self.others = nn.ParameterList(nn.Parameter(torch.randn(shape)) for shape in shapes)

    def forward(self, x):
        return self.op(x, *self.others)


@FEW
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.sampled_from([-1, -2, -3]))
def test_cat_and_stack(a, b, c, axis):
    shape = [a, b, c]
    wider = [2 if i == 3 + axis else d for i, d in enumerate(shape)]

    def op(x, other):
        other = other.expand(x.shape[0], *wider)
        joined = torch.cat([x, other, torch.tanh(x)], axis)
        return torch.cat([joined.flatten(1), torch.stack([x, x * x], axis).flatten(1)], 1)

    agrees(With(op, wider), torch.randn(2, *shape))


@FEW
@given(st.integers(2, 5), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_parts_of_which_some_are_never_read(size, width, cut, unread):
    def op(x):
        first, *rest = x.split(cut, 1)
        pieces = [first, *([] if unread else rest), x.chunk(2, 1)[0], x.unbind(1)[-1].unsqueeze(1)]
        sized = x.split_with_sizes([1, size - 1], 1)[1]
        return torch.cat([torch.tanh(p).flatten(1) * (i + 1) for i, p in enumerate([*pieces, sized])], 1)

    agrees(op, torch.randn(3, size, width))


@FEW
@given(st.integers(1, 7), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3))
def test_slices(size, width, start, step):
    start = min(start, size - 1)

    def op(x):
        parts = [x[:, start:], x[:, start::step], x[..., -1:], x.narrow(1, start, 1), x[:, -1].unsqueeze(1)]
        return sum(p.tanh().sum(1) * (i + 1) for i, p in enumerate(parts))

    agrees(op, torch.randn(2, size, width))


def test_a_part_of_what_was_joined_is_that_part():
    def op(x):
        joined = torch.cat([x, x * x, x.tanh()], 1)
        return torch.cat([joined[:, 2:4], joined[:, 1:4], joined.select(1, 5)[:, None]], 1)

    kinds = [made.kind for made in agrees(op, torch.randn(3, 2, 2)).gradient.ops]
    assert kinds.count("slice") == 2


def test_repeats_and_axes_of_size_one():
    def op(x, other):
        wide = other.expand(x.shape[0], -1, 4) + other.repeat(x.shape[0], 1, 4) * x.repeat(1, 1, 2)
        thin = x.unflatten(1, (3, -1))[:, :1, :, :1].squeeze()[:, None, None, None]
        return (wide.unsqueeze(1).expand(-1, 2, -1, -1) * thin).squeeze(0).flatten(2)

    agrees(With(op, (1, 3, 1)), torch.randn(2, 3, 2))


# x:(rows, 2, 2, n) and a parameter of the shape given, n being -1.
PRODUCTS = {
    "rows by columns": (lambda x, a: x[:, 0, 0] @ a, (-1, 3)),
    "three dimensions by a matrix": (lambda x, a: x[:, 0] @ a, (-1, 3)),
    "a matrix by four dimensions": (lambda x, a: a @ x.transpose(-1, -2), (3, -1)),
    "batches": (lambda x, a: x[:, 0].bmm(torch.tanh(x[:, 0] * a).transpose(1, 2)), (-1,)),
    "broadcast batches": (lambda x, a: x @ a, (2, -1, 3)),
    "broadcast on the left": (lambda x, a: a.mT @ x.mT, (2, -1, 3)),
    "by a vector": (lambda x, a: x @ a, (-1,)),
    "a vector by": (lambda x, a: a @ x.mT, (-1,)),
    "vectors": (lambda x, a: (a @ a) * x, (-1,)),
    "addmm": (lambda x, a: torch.addmm(a[0], x[:, 0, 0], a) + torch.mm(x[:, 0, 0], a), (-1, 3)),
    "turned": (lambda x, a: x[:, 0, 0] @ (a.T @ a).T.t(), (3, -1)),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("size", [1, 4])
def test_products(name, size):
    op, shape = PRODUCTS[name]
    agrees(With(op, [size if d < 0 else d for d in shape]), torch.randn(3, 2, 2, size))


@FEW
@given(st.sampled_from([(2,), (3, 2), (1, 2), (2, 1, 2)]), st.booleans(), st.integers(1, 3))
def test_linear_over_any_number_of_dimensions(shape, bias, width):
    agrees(nn.Linear(2, width, bias), torch.randn(2, *shape))


def test_linear_with_the_batch_in_the_middle():
    layer = nn.Linear(2, 3)
    agrees(With(lambda x: layer(x.transpose(0, 1)).transpose(1, 0)), torch.randn(2, 3, 2))


@pytest.mark.parametrize("mask", ["none", "causal", "float", "bool"])
@pytest.mark.parametrize(("tokens", "width"), [(1, 2), (4, 1), (3, 4)])
def test_attention(mask, tokens, width):
    seen = torch.eye(tokens).bool() | (torch.rand(tokens, tokens) > 0.5)
    masks = {"float": torch.where(seen, 0.3, -math.inf), "bool": seen}

    def op(x, key, value):
        scale = 0.7 if mask == "float" else None
        causal = mask == "causal"
        return F.scaled_dot_product_attention(
            x.tanh(), x @ key, x @ value, masks.get(mask), is_causal=causal, scale=scale
        )

    agrees(With(op, (width, width), (width, width)), torch.randn(3, 2, tokens, width))


class Last(nn.Module):
    """All that a recurrent layer gives."""

    def __init__(self, make, time_first, **settings):
        super().__init__()
        torch.manual_seed(4)
        self.layer = make(2, 3, batch_first=not time_first, **settings)
        self.time_first = time_first

    def forward(self, x):
        outputs, last = self.layer(x.transpose(0, 1) if self.time_first else x)
        last = last if isinstance(last, tuple) else (last,)
        outputs = outputs.transpose(0, 1) if self.time_first else outputs
        return torch.cat([outputs.flatten(1), *(s.transpose(0, 1).flatten(1) for s in last)], 1)


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(
    ("length", "time_first", "settings"),
    [
        (1, False, {}),
        (3, True, {"bias": False}),
        (2, False, {"num_layers": 2, "bidirectional": True}),
    ],
)
def test_recurrent_layers(make, length, time_first, settings):
    agrees(Last(make, time_first, **settings), torch.randn(2, length, 2))


def test_recurrent_cells():
    lstm, gru = nn.LSTMCell(2, 3), nn.GRUCell(2, 3)

    def op(x):
        h, c = lstm(x)
        h, c = lstm(x.tanh(), (h, c))
        return torch.cat([h, c, gru(x, h)], 1)

    agrees(op, torch.randn(3, 2))


@FEW
@given(st.sampled_from([(4,), (3, 1), ()]))
def test_selection_and_powers(shape):
    def op(x, other):
        bent = torch.where(x > other, x * x, other)
        small = (x <= 0.2) & ~(other == 0) | (x != x)
        kept = torch.where(small, 0.5, x * other) + torch.where(x >= 0, x, 1.0) * small.sum()
        return bent + kept + (x * x + 0.5) ** other + 1.3**x + torch.lerp(x, other, 0.3)

    agrees(With(op, shape), torch.randn(2, 3, 4))


def test_detached_values_and_new_tensors():
    def op(x):
        made = torch.zeros(x.shape[0], 3) + torch.ones_like(x) * 0.5 + x.new_full((x.shape[0], 3), 2.0)
        fixed = torch.tensor([1.0, 2.0, 3.0]) * torch.arange(3) + torch.full((3,), 0.1)
        return x * x.detach() + made * x + fixed + torch.addcmul(x, x, made, value=0.2)

    agrees(op, torch.randn(2, 3))


@pytest.mark.parametrize("training", [True, False])
def test_torchs_own_transformer_layers(training):
    layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True, norm_first=True)
    seen = nn.MultiheadAttention(4, 2, batch_first=True)
    layer.train(training)

    def op(x):
        x = layer(x)
        y, weights = seen(x, x, x)
        return torch.cat([y + seen(x, x, x, need_weights=False)[0], weights], -1)

    agrees(With(op), torch.randn(2, 3, 4))


def test_hand_written_attention():
    def op(x):
        scores = x @ x.mT
        seen = torch.tril(torch.ones(3, 3))
        shut = torch.triu(torch.full((3, 3), -math.inf), diagonal=1)
        first = scores.masked_fill(seen == 0, -math.inf).softmax(-1)
        return (first + (scores + shut).softmax(-1) * torch.where(seen == 1, 1.0, x.new_zeros(()))) @ x

    agrees(op, torch.randn(2, 3, 2))


def test_norms_and_bounds():
    def op(x):
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return torch.addcdiv(x / length, torch.maximum(x, -x), torch.minimum(length, x + 9), value=0.5)

    agrees(op, torch.randn(2, 2, 3))
