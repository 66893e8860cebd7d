"""The built-in sources: disjoint splits, drawings of the intended difficulty, waves of stated range."""

from importlib import import_module

import numpy as np
import pytest
from numpy.typing import NDArray

from regrow.episodes import SOURCES, ClassSource, open_classes, open_source, sample
from regrow.episodes.glyphs import SPLITS
from regrow.errors import SampleError


def test_splits_share_no_class_whatever_their_sizes() -> None:
    default = [set(open_classes(f"glyphs:{split}").classes) for split in SPLITS]
    assert [len(names) for names in default] == [600, 100, 200]
    grown = [set(open_classes(f"glyphs:{split}", classes=900).classes) for split in SPLITS]
    for splits in (default, grown):
        assert len(set.union(*splits)) == sum(len(names) for names in splits)


def test_a_larger_split_begins_with_the_smaller_one() -> None:
    small, large = open_source("glyphs:val"), open_classes("glyphs:val", classes=300, samples=30)
    first = np.arange(20)
    for c in (0, 99):
        assert (small.take(c, first) == large.take(c, first)).all()


def test_drawings_are_whole_greys_and_none_is_empty_or_full() -> None:
    source = open_classes("glyphs:test")
    x = np.concatenate([source.take(c, np.arange(20)) for c in range(0, 200, 4)])
    assert x.dtype == np.float32
    assert (np.round(x * 255) / np.float32(255) == x).all()
    ink = x.mean((1, 2, 3))
    assert ink.min() > 0.02
    assert ink.max() < 0.5
    assert (x.max((1, 2, 3)) == 1.0).all()


def test_no_two_drawings_are_equal() -> None:
    source = open_classes("glyphs:train", classes=60)
    drawn = {source.take(c, np.arange(20))[i].tobytes() for c in range(60) for i in range(20)}
    assert len(drawn) == 1200


def test_another_seed_draws_other_classes() -> None:
    a, b = open_classes("glyphs:val", classes=5), open_classes("glyphs:val", classes=5, seed=1)
    assert not any((a.take(c, np.arange(3)) == b.take(c, np.arange(3))).all() for c in range(5))


def _accuracy_by_nearest(source: ClassSource, k_shot: int, count: int) -> float:
    hits: list[NDArray[np.bool_]] = []
    for index in range(count):
        e = sample(source, 5, k_shot, 5, 11, index)
        shown, asked = e.support_x.reshape(len(e.support_x), -1), e.query_x.reshape(len(e.query_x), -1)
        far = (asked**2).sum(1)[:, None] - 2 * asked @ shown.T + (shown**2).sum(1)
        hits.append(e.support_y[far.argmin(1)] == e.query_y)
    return float(np.concatenate(hits).mean())


def test_nearest_pixel_is_far_from_chance_and_far_from_good() -> None:
    # A meta-learned network reaches 90 % and more on the same episodes: that is what there is to learn.
    assert 0.45 < _accuracy_by_nearest(open_classes("glyphs:test"), 1, 300) < 0.65


def test_a_random_projection_is_no_better_than_pixels() -> None:
    # Stands for an untrained network: fixed random filters, then nearest class. Chance is 0.2.
    source = open_classes("glyphs:test")
    weight = np.random.default_rng(0).normal(size=(784, 32)).astype(np.float32)
    hits = []
    for index in range(100):
        e = sample(source, 5, 1, 5, 12, index)
        shown, asked = (np.maximum(x.reshape(len(x), -1) @ weight, 0) for x in (e.support_x, e.query_x))
        far = ((asked[:, None] - shown[None]) ** 2).sum(-1)
        hits.append(e.support_y[far.argmin(1)] == e.query_y)
    assert 0.2 < float(np.concatenate(hits).mean()) < 0.6


def test_sine_is_the_stated_wave() -> None:
    for index in range(20):
        e = sample(open_source("sine"), 1, 10, 20, 0, index)
        assert (e.support_x.shape, e.support_y.shape) == ((10, 1), (10, 1))
        assert (e.query_x.shape, e.query_y.dtype) == ((20, 1), np.float32)
        amplitude, rest = e.classes[0].split("*sin(")
        frequency, phase = rest.rstrip(")").split("*x+")
        want = float(amplitude) * np.sin(float(frequency) * e.query_x + float(phase))
        assert np.abs(e.query_y - want).max() < 0.02  # the name has three decimals


def test_sine_covers_its_ranges() -> None:
    source = open_source("sine")
    parameters, xs = [], []
    for index in range(1000):
        e = sample(source, 1, 5, 0, 0, index)
        amplitude, rest = e.classes[0].split("*sin(")
        parameters.append([float(v) for v in (amplitude, *rest.rstrip(")").split("*x+"))])
        xs.append(e.support_x)
    low, high, mean = (f(np.array(parameters), axis=0) for f in (np.min, np.max, np.mean))
    assert np.allclose(low, [0.1, 0.8, 0.0], atol=0.03)
    assert np.allclose(high, [5.0, 1.2, np.pi], atol=0.03)
    assert np.allclose(mean, [2.55, 1.0, np.pi / 2], atol=0.2)
    assert -5 <= np.min(xs) < -4.95 < 4.95 < np.max(xs) < 5


def test_sine_is_deterministic_and_its_parts_differ() -> None:
    first, again = (sample(open_source("sine"), 1, 5, 5, 3, 8) for _ in range(2))
    other = sample(open_source("sine:test"), 1, 5, 5, 3, 8)
    assert (first.query_y == again.query_y).all()
    assert not (first.support_x == other.support_x).any()


def test_sine_can_be_the_classic_one() -> None:
    e = sample(open_source("sine", frequency=(1.0, 1.0)), 1, 5, 5, 0, 0)
    assert "sin(1.000*x" in e.classes[0]


@pytest.mark.parametrize(
    ("spec", "args", "says"),
    [
        ("glyps:test", {}, "did you mean 'glyphs'"),
        ("nothing", {}, "choose one of glyphs, sine, files"),
        ("glyphs:dev", {}, "use train, val, test"),
        ("glyphs:test", {"classes": 0}, "ask for 1 or more"),
        ("glyphs:test", {"shape": (1, 9, 9)}, "it takes classes, samples, seed"),
        ("sine:some", {}, "use train, val or test"),
        ("files:", {}, "write files:PATH"),
    ],
)
def test_a_wrong_source_is_refused_with_a_remedy(spec: str, args: dict[str, object], says: str) -> None:
    with pytest.raises(SampleError, match=says):
        open_source(spec, **args)


def test_open_classes_refuses_regression() -> None:
    with pytest.raises(SampleError, match="no plain set of classes"):
        open_classes("sine")


def test_every_row_of_the_table_names_a_function() -> None:
    for target in SOURCES.values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function)), target
