"""Values: fp16 and int8 round once and for all; what the bound says can be computed by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from regrow.encoding import decode, encode
from regrow.errors import BundleError
from regrow.values import MAX_SCALE, MIN_SCALE, Values, information_bound, narrow, rounded, scales_of

floats = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6),
    elements=st.floats(-(2.0**120), 2.0**120, width=32, allow_subnormal=True),
)


@settings(max_examples=200, deadline=None)
@given(floats, st.integers(0, 2**32 - 1))
def test_int8_comes_back_bit_for_bit_once_it_is_rounded(w: NDArray[np.float32], seed: int) -> None:
    kept = np.asarray(np.random.default_rng(seed).random(w.shape) < 0.6)
    w = np.where(kept, w, np.float32(0))
    grid = rounded(w, "int8")
    assert rounded(grid, "int8").tobytes() == grid.tobytes()
    for mask in (None, kept):
        encoded = encode(grid, mask, "int8")
        assert set(encoded.parts) >= {"scales"}
        found, found_mask = decode(encoded.kind, encoded.parts, w.shape)
        assert found.tobytes() == grid.tobytes()
        assert not found.flags.writeable
        if found_mask is not None:
            np.testing.assert_array_equal(found_mask, kept)


@settings(max_examples=200, deadline=None)
@given(floats)
def test_int8_is_off_by_half_a_step_at_most(w: NDArray[np.float32]) -> None:
    scales = scales_of(w)
    assert ((scales >= MIN_SCALE) & (scales <= MAX_SCALE)).all()
    step = scales.astype(np.float64).reshape(-1, *[1] * (w.ndim - 1))
    assert (np.abs(rounded(w, "int8").astype(np.float64) - w) <= 0.5001 * step).all()
    largest = np.abs(w.astype(np.float64).reshape(len(w), -1 if w.size else 0)).max(axis=1, initial=0)
    assert (scales * 127.0 >= largest).all()
    assert (scales <= np.maximum(largest / 127 * (1 + 2.0**-16), MIN_SCALE)).all()


def test_int8_by_hand() -> None:
    w = np.array([[1.0, -127.0, 0.4], [0.0, 0.0, 0.0], [-2.54, 0.013, 1.27]], np.float32)
    parts = narrow(w, None, "int8")
    assert parts[""].tolist() == [[1, -127, 0], [0, 0, 0], [-127, 1, 63]]
    assert parts["scales"][0] == 1.0
    assert parts["scales"][2] == pytest.approx(0.02, rel=2.0**-16)


def test_a_kept_value_that_rounds_to_zero_stays_kept() -> None:
    w = np.array([[100.0, 0.1, 0.0, 0.0]] * 8, np.float32)
    kept = w != 0
    encoded = encode(w, kept, "int8")
    found, mask = decode(encoded.kind, encoded.parts, w.shape)
    assert mask is not None
    assert mask.tolist() == kept.tolist()
    assert found[:, 1].tolist() == [0.0] * 8


@pytest.mark.parametrize(
    ("w", "word"),
    [
        (np.float32(1), "a scalar"),
        (np.array([1, np.inf]), "values that are not finite"),
        (np.array([np.nan, 1]), "values that are not finite"),
        (np.array([3e38, 1]), "a scale of 2.4e.36"),
    ],
)
def test_what_int8_cannot_hold_is_refused(w: Any, word: str) -> None:
    with pytest.raises(BundleError, match=f"{word}.*store it as fp32"):
        encode(np.asarray(w, np.float32), None, "int8")


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ({"": np.ones((2, 3), np.int8)}, "int8 without scales, expected scales beside int8"),
        ({"": np.ones((2, 3), np.float32), "scales": np.ones(2, np.float32)}, "float32 with scales"),
        ({"": np.ones((2, 3), np.int8), "scales": np.ones(3, np.float32)}, r"float32\[3\], expected"),
        ({"": np.ones((2, 3), np.int8), "scales": np.ones(2, np.float16)}, r"float16\[2\], expected"),
    ],
)
def test_scales_that_do_not_fit_are_refused(parts: dict[str, Any], word: str) -> None:
    with pytest.raises(BundleError, match=word):
        decode("dense", parts, (2, 3))
    values = parts[""].reshape(-1)[:1]
    sparse = {"values": values, "bits": np.array([1], np.uint8)}
    sparse |= {"scales": parts["scales"]} if "scales" in parts else {}
    with pytest.raises(BundleError, match=word):
        decode("bitmask", sparse, (2, 3))


@pytest.mark.parametrize(
    ("shape", "kept", "values", "expected"),
    [
        ((2, 8), 8, "fp32", 16 / 8 + 32),  # a fair coin per position: one bit each
        ((2, 8), 4, "fp32", 16 * 0.8112781 / 8 + 16),  # H(1/4) = 2/4 + 3/4 log2(4/3)
        ((2, 8), 4, "fp16", 16 * 0.8112781 / 8 + 8),
        ((2, 8), 4, "int8", 16 * 0.8112781 / 8 + 4 + 2 * 4),
        ((2, 8), 16, "int8", 16 + 2 * 4),  # nothing is dropped, so there is no mask to tell
        ((2, 8), 0, "fp32", 0),
        ((0, 8), 0, "fp32", 0),
        ((), 1, "fp32", 4),
    ],
)
def test_the_information_bound_by_hand(
    shape: tuple[int, ...], kept: int, values: Values, expected: float
) -> None:
    assert information_bound(shape, kept, values) == pytest.approx(expected, rel=1e-6)
