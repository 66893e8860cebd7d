"""The small parts: Adam, schedules, the feed, backbones, tables."""

import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from torch import nn

from regrow.episodes import open_source, sample
from regrow.errors import SampleError, UnsupportedError
from regrow_trainer import backbones, rules
from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.backbones.mlp import MLP
from regrow_trainer.feed import batches, draw
from regrow_trainer.outer import Moments, adam
from regrow_trainer.recipe import Data, Input, Prune
from regrow_trainer.schedule import learning_rate, rounds
from regrow_trainer.tensors import to_arrays, to_tensors

DATA = Data(
    train="glyphs:train", validation="glyphs:val", test="glyphs:test",
    args={"classes": 8, "samples": 5}, n_way=3, k_shot=2, queries=2,
)  # fmt: skip


def test_adam_is_torchs_adam() -> None:
    torch.manual_seed(0)
    params = {"a": torch.randn(3, 4), "b": torch.randn(5)}
    theirs = {n: nn.Parameter(p.clone()) for n, p in params.items()}
    optimiser = torch.optim.Adam(theirs.values(), lr=0.01)
    moments = Moments.zeros(params)
    for _ in range(20):
        grads = {n: torch.randn_like(p) for n, p in params.items()}
        before = {n: p.clone() for n, p in params.items()}
        kept = dict(params)
        params, moments = adam(params, grads, moments, 0.01)
        assert all(torch.equal(kept[n], before[n]) for n in kept)
        for n, p in theirs.items():
            p.grad = grads[n]
        optimiser.step()
    assert all(torch.allclose(params[n], theirs[n], atol=1e-6) for n in params)


def test_rounds_share_the_first_half_and_end_at_the_sparsity_asked_for() -> None:
    assert rounds(None, 10) == []
    assert rounds(Prune(sparsity=0.85), 10) == [(0, 0.85)]
    made = rounds(Prune(sparsity=0.85, schedule="iterative:0.1"), 180)
    assert [start for start, _ in made] == list(range(0, 90, 10))
    assert [s for _, s in made] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85])
    assert [s for _, s in rounds(Prune(sparsity=0.3, schedule="iterative:.1"), 9)] == pytest.approx(
        [0.1, 0.2, 0.3]
    )


def test_cosine_falls_to_zero() -> None:
    rates = [learning_rate(2.0, "cosine", i, 20) for i in range(20)]
    assert rates[0] == 2.0
    assert rates[10] == pytest.approx(1.0)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[19] < 0.1
    assert learning_rate(2.0, "constant", 19, 20) == 2.0


def test_a_batch_is_the_same_whenever_it_is_drawn() -> None:
    source = open_source("glyphs", classes=8, samples=5)
    with batches(source, DATA, Input(), 5, 3, 0, 4) as feed:
        from_start = list(feed)
    with batches(source, DATA, Input(), 5, 3, 2, 4) as feed:
        later = list(feed)
    assert len(from_start) == 4
    for a, b in zip(from_start[2:], later, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    first = sample(source, 3, 2, 2, 5, 2 * 3)
    assert np.array_equal(later[0].support_x[0].numpy(), first.support_x)


def test_inputs_are_scaled_as_the_checkpoint_says() -> None:
    source = open_source("glyphs", classes=8, samples=5)
    plain, scaled = (draw(source, DATA, spec, 2, 0, 0, 2) for spec in (Input(), Input(mean=0.25, std=0.5)))
    assert torch.allclose(scaled.support_x, (plain.support_x - 0.25) / 0.5)
    assert torch.allclose(scaled.query_x, (plain.query_x - 0.25) / 0.5)
    assert torch.equal(scaled.support_y, plain.support_y)


def test_the_feed_hands_its_error_to_the_consumer_and_ends() -> None:
    source = open_source("glyphs", classes=8, samples=3)
    with (
        pytest.raises(SampleError, match="expected at least 4"),
        batches(source, DATA, Input(), 5, 3, 0, 2) as feed,
    ):
        next(feed)
    assert not [t for t in threading.enumerate() if t.name == "episodes"]


def test_leaving_early_ends_the_feed() -> None:
    source = open_source("sine")
    sizes = Data(train="sine", validation="sine", test="sine", n_way=1)
    with batches(source, sizes, Input(), 0, 2, 0, 10_000) as feed:
        next(feed)
    assert not [t for t in threading.enumerate() if t.name == "episodes"]


@pytest.mark.parametrize(
    ("downsample", "side", "features"),
    [("pool", 28, 1), ("stride", 28, 4), ("pool", 32, 4), ("stride", 33, 9), ("pool", 84, 25)],
)
def test_conv4_halves_with_either_means(downsample: str, side: int, features: int) -> None:
    net = Conv4((2, side, side), 7, width=3, downsample=downsample)
    assert net.head.in_features == 3 * features
    assert net(torch.rand(2, 2, side, side)).shape == (2, 7)


@pytest.mark.parametrize(("width", "count"), [(64, 112_261), (32, 28_485)])
def test_conv4_has_the_published_number_of_parameters(width: int, count: int) -> None:
    assert sum(p.numel() for p in Conv4((1, 28, 28), 5, width).parameters()) == count


def test_the_sine_network_is_1_40_40_1() -> None:
    assert [tuple(p.shape) for p in MLP().parameters()] == [(40, 1), (40,), (40, 40), (40,), (1, 40), (1,)]


def test_a_normed_mlp_takes_out_what_a_drift_multiplies_and_adds() -> None:
    module = MLP((4,), 3, (8,), norm=True)
    x = torch.randn(16, 4)
    drifted = x * torch.tensor([2.0, 0.5, 3.0, 1.0]) + torch.tensor([1.0, -2.0, 0.0, 5.0])
    assert torch.allclose(module(x), module(drifted), atol=1e-3)
    assert not torch.allclose(MLP((4,), 3, (8,))(x), MLP((4,), 3, (8,))(drifted), atol=1e-1)


def test_a_backbone_is_drawn_from_its_seed_and_leaves_torchs_generator_alone() -> None:
    path, args = backbones.define("conv4", {"width": 3}, (1, 28, 28), 5)
    assert args == {"input_shape": [1, 28, 28], "outputs": 5, "width": 3}
    before = torch.get_rng_state()
    a, b, c = (backbones.build(path, args, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.head.weight, b.head.weight)
    assert not torch.equal(a.head.weight, c.head.weight)


def test_any_module_works_by_its_path() -> None:
    path, args = backbones.define("torch.nn:Linear", {"in_features": 4, "out_features": 2}, (4,), 2)
    assert isinstance(backbones.build(path, args, 0), nn.Linear)
    with pytest.raises(UnsupportedError, match="made a Fraction, expected a torch"):
        backbones.build("fractions:Fraction", {}, 0)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("fractions:Fraction", "made a Fraction, expected a Rule"),
        ("json:loads", "expected arguments: s"),
        ("math:pi", "is a float without a signature"),
    ],
)
def test_what_is_no_rule_is_refused(path: str, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        rules.build(path, {})


def test_tensors_and_arrays_do_not_share_memory() -> None:
    array = np.arange(3, dtype=np.float32)
    array.flags.writeable = False
    tensors = to_tensors({"a": array})
    tensors["a"] += 1
    back = to_arrays(tensors)
    back["a"] += 1
    assert array.tolist() == [0, 1, 2]
    assert tensors["a"].tolist() == [1, 2, 3]
