"""A mixture draws every episode from one of its sources, the same one for everybody."""

import numpy as np
import pytest

from regrow.episodes import open_source, sample
from regrow.errors import SampleError

PARTS = [
    {"source": "glyphs", "args": {"classes": 6, "samples": 3}},
    {"source": "glyphs", "args": {"seed": 1}},
]


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
