"""Ops that join, cut, fill, choose and compare; the soft losses against central differences. No torch."""

import numpy as np
import pytest

from regrow.ops import OPS
from regrow.program import Value
from tests.runtime.differences import close, differences, run

RNG = np.random.default_rng(0)


def shape(kind, *values, **attrs):
    return [v.shape for v in OPS[kind].shape(values, attrs)]


@pytest.mark.parametrize(("start", "stop", "step"), [(0, 5, 1), (1, 4, 1), (0, 5, 2), (1, 5, 3), (4, 5, 1)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slice_gradient(axis, start, stop, step):
    x = RNG.normal(size=(5, 5, 5))
    attrs = {"axis": axis, "start": start, "stop": stop, "step": step}
    dy = RNG.normal(size=run("slice", [x], **attrs)[0].shape)
    found = run("slice_back", [dy], size=5, **attrs)[0]
    close(found, differences(lambda v: run("slice", [v], **attrs)[0], x, dy))


def test_concat_and_split_are_inverse():
    parts = [RNG.normal(size=(2, n, 3)) for n in (1, 4, 2)]
    whole = run("concat", parts, axis=1)[0]
    for part, again in zip(parts, run("split", [whole], axis=1, sizes=(1, 4, 2)), strict=True):
        np.testing.assert_array_equal(part, again)
    assert shape("concat", *[Value((-1, n, 3)) for n in (1, 4)], axis=1) == [(-1, 5, 3)]
    assert shape("concat", Value((-1, 3)), Value((-2, 3)), axis=0) == [(-3, 3)]
    assert shape("split", Value((-1, 7)), axis=1, sizes=(3, 4)) == [(-1, 3), (-1, 4)]


def test_batched_product_broadcasts_its_leading_dimensions():
    a, b = RNG.normal(size=(2, 1, 3, 4)), RNG.normal(size=(5, 4, 2))
    np.testing.assert_allclose(run("batch_matmul", [a, b])[0], np.einsum("bimk,ikn->bimn", a[:, [0] * 5], b))
    assert shape("batch_matmul", Value((-1, 1, 3, 4)), Value((5, 4, 2))) == [(-1, 5, 3, 2)]


def test_filled_values_take_the_batch_from_an_input():
    x = np.zeros((3, 7))
    filled = run("full", [x], shape=(2, -1, 4), value=0.1, dtype="float32")[0]
    assert filled.shape == (2, 3, 4)
    assert (filled == 0.1).all()  # not the nearest float32
    assert run("full", [], shape=(), value=3, dtype="int64")[0] == 3
    assert run("expand", [np.ones((1, 4)), x], shape=(-2, 4))[0].shape == (6, 4)
    made = run("literal", [], values=(1, 0, 1, 1), shape=(2, 2), dtype="bool")[0]
    assert made.tolist() == [[True, False], [True, True]]


def test_rows_are_picked_by_number():
    table = np.arange(6.0).reshape(3, 2)
    assert run("gather", [table, np.array([2, 0])])[0].tolist() == [[4, 5], [0, 1]]
    assert run("gather", [table, np.array(1)])[0].tolist() == [2, 3]


def test_comparisons_and_truth_values():
    a, b = np.array([1.0, 2.0, 3.0]), np.array(2.0)
    assert run("greater", [a, b])[0].tolist() == [False, False, True]
    assert run("greater_equal", [a, b])[0].tolist() == [False, True, True]
    assert run("equal", [a, b])[0].tolist() == [False, True, False]
    yes, no = np.array([True, True, False]), np.array([True, False, False])
    assert run("logical_and", [yes, no])[0].tolist() == [True, False, False]
    assert run("logical_or", [yes, no])[0].tolist() == [True, True, False]
    assert run("logical_not", [no])[0].tolist() == [False, True, True]


def test_whole_numbers_round_down_and_casts_towards_zero():
    a, b = np.array([7, -7, 6]), np.array(3)
    assert run("floor_divide", [a, b])[0].tolist() == [2, -3, 2]
    assert run("remainder", [a, b])[0].tolist() == [1, 2, 0]
    assert run("cast", [np.array([1.9, -1.9, 0.0])], dtype="int64")[0].tolist() == [1, -1, 0]
    assert run("cast", [np.array([1.9, -1.9, 0.0])], dtype="bool")[0].tolist() == [True, True, False]
    assert run("cast", [a], dtype="float32")[0].dtype == np.float64


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_soft_cross_entropy_gradient_and_unused_outputs(smoothing):
    logits, y = RNG.normal(size=(6, 5)), np.array([0, 1, 3, 0, 1, 3])
    active, weight = np.array([True, True, False, True, False]), RNG.random(5) + 0.5
    forward = lambda v: run("cross_entropy_soft", [v, y, active, weight], smoothing=smoothing)  # noqa: E731
    _, p = forward(logits)
    found = run("cross_entropy_soft_back", [np.array(1.0), p, y, active, weight], smoothing=smoothing)[0]
    close(found, differences(lambda v: forward(v)[0], logits, np.array(1.0)))
    assert (found[:, ~active] == 0).all()
    # Outputs that are not in use might as well not be there.
    small = [logits[:, active], np.array([0, 1, 2, 0, 1, 2]), np.ones(3, bool), weight[active]]
    close(forward(logits)[0], run("cross_entropy_soft", small, smoothing=smoothing)[0])


def test_soft_cross_entropy_without_softness_is_the_plain_one():
    logits, y, active = RNG.normal(size=(4, 3)), np.array([0, 1, 2, 2]), np.ones(3, bool)
    soft = run("cross_entropy_soft", [logits, y, active, np.full(3, 2.0)], smoothing=0.0)
    close(soft[0], run("cross_entropy", [logits, y, active])[0])


def test_binary_cross_entropy_gradient_and_large_logits():
    x, y = RNG.normal(size=(4, 3)), RNG.random((4, 3))
    found = run("bce_back", [np.array(2.0), x, y])[0]
    close(found, differences(lambda v: run("bce", [v, y])[0], x, np.array(2.0)))
    far, right = np.array([[800.0, -800.0]]), np.array([[1.0, 0.0]])
    assert run("bce", [far, right])[0] == 0
    assert run("bce", [far, 1 - right])[0] == 800
    assert run("bce_back", [np.array(1.0), far, 1 - right])[0].tolist() == [[0.5, -0.5]]


def test_a_power_by_a_tensor():
    close(run("pow_tensor", [np.array(0.9), np.array([0.0, 1.0, 2.0])])[0], [1, 0.9, 0.81])


WRONG = [
    ("concat", [Value((-1, 3)), Value((-1, 4))], {"axis": 0}, "do not join"),
    ("concat", [Value((-1, 3)), Value((2, 3))], {"axis": 0}, "do not join"),
    ("split", [Value((-1, 3))], {"axis": 1, "sizes": (1, 1)}, "do not add up"),
    ("slice", [Value((-1, 3))], {"axis": 1, "start": 3, "stop": 3, "step": 1}, "slice"),
    ("slice", [Value((-1, 3))], {"axis": 0, "start": 0, "stop": 1, "step": 1}, "slice"),
    ("gather", [Value((3,)), Value((1,))], {}, "int64"),
    ("full", [], {"shape": (-1, 3), "value": 0.0, "dtype": "float32"}, "depends on the batch"),
    ("expand", [Value((2, 3))], {"shape": (4, 3)}, "do not broadcast"),
    ("expand", [Value((4, 3))], {"shape": (1, 3)}, "does not expand"),
    ("batch_matmul", [Value((-1, 2, 3)), Value((2, 3))], {}, "batch_matmul"),
    ("greater", [Value((2,)), Value((2,), "int64")], {}, "int64"),
    ("remainder", [Value((2,)), Value((2,))], {}, "float32"),
    ("cast", [Value((2,))], {"dtype": "float64"}, "float64"),
]


@pytest.mark.parametrize(("kind", "values", "attrs", "words"), WRONG)
def test_wrong_shapes_and_types_are_refused_where_they_are_declared(kind, values, attrs, words):
    with pytest.raises(ValueError, match=words):
        OPS[kind].shape(values, attrs)


@pytest.mark.parametrize("descending", [False, True])
def test_argsort_takes_the_first_of_equals_first(descending):
    x = np.array([[2.0, 1.0, 2.0, -3.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    found = run("argsort", [x], descending=descending)[0]
    assert found.tolist() == [[0, 2, 1, 4, 3] if descending else [3, 1, 4, 0, 2], [0, 1, 2, 3, 4]]
    with pytest.raises(ValueError, match="known size"):
        shape("argsort", Value((3, -1)), descending=descending)
