"""A mixture draws every episode from one of its sources, the same one for everybody."""

import numpy as np
import pytest

from regrow.episodes import open_source, sample
from regrow.episodes.fitted import fit, fitted
from regrow.errors import SampleError

PARTS = [
    {"source": "glyphs", "args": {"classes": 6, "samples": 3}},
    {"source": "glyphs", "args": {"seed": 1}},
]
COLOURED = [{"source": "files:HERE/red.npz"}]


def test_each_episode_is_one_of_a_part_and_all_parts_come_up():
    mixed = open_source("mixture:test", parts=PARTS)
    parts = [open_source("glyphs:test", **part["args"]) for part in PARTS]
    seen = set()
    for index in range(20):
        found = sample(mixed, 2, 1, 1, 3, index)
        equal = [np.array_equal(found.support_x, sample(p, 2, 1, 1, 3, index).support_x) for p in parts]
        assert sum(equal) == 1
        seen.add(equal.index(True))
        assert np.array_equal(found.query_x, sample(mixed, 2, 1, 1, 3, index).query_x)
    assert seen == {0, 1}
    assert (mixed.task, tuple(mixed.sample_shape)) == ("classification", (1, 28, 28))


def test_pictures_of_two_sizes_meet_in_one_shape():
    mixed = open_source("mixture:test", parts=PARTS, shape=[3, 14, 14])
    small, large = (sample(s, 2, 1, 1, 3, 5) for s in (mixed, open_source("mixture:test", parts=PARTS)))
    assert small.support_x.shape == (2, 3, 14, 14)
    quarters = large.support_x.reshape(2, 1, 14, 2, 14, 2).mean((3, 5))
    np.testing.assert_allclose(small.support_x, np.repeat(quarters, 3, 1), atol=1e-6)
    assert small.classes == large.classes


def test_a_size_that_is_no_multiple_keeps_the_mean():
    x = np.random.default_rng(0).random((2, 3, 32, 20), np.float32)
    made = fit(x, (1, 28, 31))
    assert made.shape == (2, 1, 28, 31)
    np.testing.assert_allclose(made.mean((1, 2, 3)), x.mean((1, 2, 3)), rtol=1e-5)


def test_samples_of_one_block_stay_together_when_fitted():
    class Blocked:
        task, classes, n_classes, sample_shape = "classification", ("a",), 1, (1, 4, 4)

        def samples(self, class_index):
            return 2

        def take(self, class_index, indices):
            return np.zeros((len(indices), 1, 4, 4), np.float32)

        def blocks(self, class_index):
            return np.array([7, 7])

    assert fitted(Blocked(), [1, 2, 2], "here").blocks(0).tolist() == [7, 7]


@pytest.mark.parametrize(("shape", "parts"), [([2, 28], PARTS), ([1, 0, 28], PARTS), ([2, 9, 9], COLOURED)])
def test_a_shape_that_pictures_cannot_have_is_refused(shape, parts, tmp_path):
    np.savez(tmp_path / "red.npz", x=np.zeros((4, 3, 4, 4), np.float32), y=np.array([0, 0, 1, 1]))
    parts = [{"source": p["source"].replace("HERE", str(tmp_path))} for p in parts]
    with pytest.raises(SampleError, match="as many channels as they have or 1"):
        open_source("mixture", parts=parts, shape=shape)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "expected a list"),
        ([{"sources": "sine"}], "expected a list"),
        ([{"source": "sine"}, {"source": "glyphs"}], "one task and shape"),
        ([{"source": "sin"}], "did you mean 'sine'"),
    ],
)
def test_what_cannot_be_mixed_is_refused(parts, words):
    with pytest.raises(SampleError, match=words):
        open_source("mixture", parts=parts)
