"""Encodings: what was kept comes back exactly, in few bytes, quickly; streams that lie are refused."""

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from regrow import encoding
from regrow.encoding import Kind, decode, encode, encode_sparse
from regrow.errors import BundleError
from regrow.values import Values, information_bound

CONV4 = ((64, 1, 3, 3), (64, 64, 3, 3), (64, 64, 3, 3), (64, 64, 3, 3))
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)


def random_mask(rng: np.random.Generator, shape: tuple[int, ...], sparsity: float) -> NDArray[np.bool_]:
    """A mask of exactly the share, at random positions."""
    kept = np.zeros(math.prod(shape), np.bool_)
    kept[rng.permutation(kept.size)[: round(kept.size * (1 - sparsity))]] = True
    return kept.reshape(shape)


def masked(rng: np.random.Generator, kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(kept, rng.standard_normal(kept.shape), 0).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(shapes, st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_round_trip_is_bit_exact(shape: tuple[int, ...], density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kept = np.asarray(rng.random(shape) < density)
    # Any bit pattern: negative zeros, denormals, infinities, NaN payloads.
    raw = rng.integers(0, 2**32, shape, np.uint32) * rng.integers(0, 2, shape, np.uint32)
    w = np.asarray(np.where(kept, raw, 0), np.uint32).view(np.float32)
    encoded = encode(w, kept)
    found, mask = decode(encoded.kind, encoded.parts, w.shape)
    assert found.tobytes() == w.tobytes()
    assert found.shape == w.shape
    if mask is None:
        assert kept.all()
    else:
        np.testing.assert_array_equal(mask, kept)
        assert not mask.flags.writeable
    assert not found.flags.writeable


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.bool_, st.integers(0, 300)))
def test_both_sparse_kinds_hold_any_mask(kept: NDArray[np.bool_]) -> None:
    values = np.arange(np.count_nonzero(kept), dtype=np.float32)
    bits = np.packbits(kept, bitorder="little")
    gaps = encoding.rice_encode(np.flatnonzero(kept))
    for kind, parts in (("bitmask", {"bits": bits}), ("rice", {"gaps": gaps})):
        mask = encoding.decode_mask(kind, {"values": values, **parts}, kept.shape)  # type: ignore[arg-type]
        np.testing.assert_array_equal(mask, kept)


def test_a_kept_zero_stays_kept_and_a_negative_zero_negative() -> None:
    w = np.array([0.0, -0.0, 1e-45, 0.0, 0.0, 0.0], np.float32)
    kept = np.array([True, True, True, False, False, False])
    encoded = encode(w, kept)
    found, mask = decode(encoded.kind, encoded.parts, w.shape)
    assert mask is not None
    assert mask.tolist() == kept.tolist()
    assert found.tobytes() == w.tobytes()


def test_without_a_mask_it_is_dense_and_in_place() -> None:
    w = np.zeros((3, 4), np.float32)
    encoded = encode(w, None)
    assert encoded.kind == "dense"
    found, mask = decode("dense", encoded.parts, w.shape)
    assert mask is None
    assert np.shares_memory(found, w)
    assert w.flags.writeable


def test_fp16_rounds_to_nearest_and_refuses_overflow() -> None:
    w = np.array([1.0, 1 / 3, -65504.0, 0.0], np.float32)
    kept = np.array([True, True, True, False])
    for mask in (None, kept):
        encoded = encode(w, mask, "fp16")
        found, _ = decode(encoded.kind, encoded.parts, w.shape)
        np.testing.assert_array_equal(found, w.astype(np.float16).astype(np.float32))
    with pytest.raises(BundleError, match=r"1 values above 65504, expected .*; store it as fp32"):
        encode(w * np.float32(2), kept, "fp16")
    # An infinity is not lost: it is one in both precisions.
    assert np.isinf(encode(np.array([np.inf], np.float32), None, "fp16").parts[""]).all()


@pytest.mark.parametrize(
    ("w", "kept", "word"),
    [
        (np.ones(3, np.float32), np.array([True, False, True]), "1 pruned values that are not zero"),
        (np.ones(3, np.float32), np.array([True, False]), "a mask of the tensor's shape"),
        (np.ones(3), None, "found float64, expected float32"),
    ],
)
def test_encoder_refuses(w: Any, kept: Any, word: str) -> None:
    with pytest.raises(BundleError, match=word):
        encode(w, kept)


@pytest.mark.parametrize(
    ("sparsity", "kind"), [(0.0, "dense"), (0.5, "bitmask"), (0.8, "rice"), (1.0, "rice")]
)
def test_the_smallest_kind_is_chosen(sparsity: float, kind: Kind) -> None:
    rng = np.random.default_rng(0)
    kept = random_mask(rng, (64, 64, 3, 3), sparsity)
    encoded = encode(masked(rng, kept), kept)
    assert encoded.kind == kind
    others = (np.packbits(kept).nbytes, encoding.rice_encode(np.flatnonzero(kept)).nbytes)
    if kind != "dense":
        assert encoded.nbytes == 4 * np.count_nonzero(kept) + min(others)


# Entropy bounds for 111,168 weights: n H(p) / 8 index bytes plus the values.
@pytest.mark.parametrize(("values", "bound"), [("fp32", 75_181), ("fp16", 41_829), ("int8", 26_177)])
def test_conv4_at_85_percent_is_near_the_entropy_bound(values: Values, bound: int) -> None:
    rng = np.random.default_rng(1)
    total, stated = 0, 0.0
    for shape in CONV4:
        kept = random_mask(rng, shape, 0.85)
        encoded = encode(masked(rng, kept), kept, values)
        assert encoded.kind == "rice"
        total += encoded.nbytes
        stated += information_bound(shape, int(np.count_nonzero(kept)), values)
    assert total <= 1.03 * bound
    assert stated == pytest.approx(bound, rel=1e-3)
    assert total <= 1.005 * bound  # what Rice coding reaches; 1.03 is the promise


@pytest.mark.parametrize("sparsity", [0.85, 0.9, 0.95])
def test_gaps_are_near_the_entropy_bound(sparsity: float) -> None:
    rng = np.random.default_rng(2)
    n, p = 64 * 64 * 9, 1 - sparsity
    gaps = encoding.rice_encode(np.flatnonzero(random_mask(rng, (n,), sparsity)))
    bound = -n * (p * math.log2(p) + sparsity * math.log2(sparsity)) / 8
    assert bound <= gaps.nbytes <= 1.02 * bound


def test_decoding_conv4_takes_milliseconds() -> None:
    rng = np.random.default_rng(3)
    masks = [random_mask(rng, shape, 0.85) for shape in CONV4]
    encoded = [encode(masked(rng, kept), kept) for kept in masks]
    times = []
    for _ in range(7):
        start = time.perf_counter()
        for kept, e in zip(masks, encoded, strict=True):
            decode(e.kind, e.parts, kept.shape)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.03


def test_golden_streams() -> None:
    kept = np.zeros(40, np.bool_)
    kept[[3, 4, 17, 39]] = True
    # Gaps 3, 0, 12, 21. k = 3: low parts 3 0 4 5 in 3 bits each, then high parts 0 0 1 2 in unary.
    assert encoding.rice_encode(np.flatnonzero(kept)).tobytes().hex() == "03030b4b"
    assert np.packbits(kept, bitorder="little").tobytes().hex() == "1800020080"
    assert encoding.rice_encode(np.array([], np.intp)).tobytes().hex() == "00"


LIES: list[tuple[Kind, int, list[int], int, str]] = [
    ("rice", 0, [], 40, "first byte"),
    ("rice", 4, [29, 0, 0, 0], 40, "first byte"),
    ("rice", 4, [28, 1], 40, "at least 15 for 4 values"),
    ("rice", 3, [3, 0x03, 0x0B, 0x4B], 40, "expected 3 gaps"),
    ("rice", 5, [3, 0x03, 0x0B, 0x4B], 40, "expected 5 gaps"),
    ("rice", 4, [3, 0x03, 0x0B, 0x4B, 0], 40, "no byte more"),
    ("rice", 4, [3, 0x03, 0x0B], 40, "0 gaps in 3 bytes"),
    ("rice", 4, [3, 0x03, 0x0B, 0x4B], 39, "found position 39"),
    ("rice", 1, [0, 0, 0, 0, 0, 0, 0x80], 40, "a gap past the end"),
    ("rice", 1, [28, 255, 255, 255, 15, 1], 40, "found position"),
    ("rice", 1, [28, 255, 255, 255, 31, 1], 40, "zero padding"),
    ("rice", 0, [0, 0], 40, "no byte more"),
    ("rice", 41, [0, *[255] * 6], 40, "at most 40 values"),
    ("bitmask", 4, [0x18, 0, 0x02, 0], 40, "5 for 40 positions"),
    ("bitmask", 4, [0x18, 0, 0x02, 0, 0x80, 0], 40, "5 for 40 positions"),
    ("bitmask", 3, [0x18, 0, 0x02, 0, 0x80], 40, "4 set bits, expected 3"),
    ("bitmask", 4, [0x18, 0, 0x02, 0, 0x80], 39, "a bit past the end"),
    ("bitmask", 0, [0], 2**28 + 1, "at most 268435456"),
    ("rice", 0, [0], 2**28 + 1, "at most 268435456"),
]


@pytest.mark.parametrize(("kind", "count", "stream", "size", "word"), LIES)
def test_lying_streams_are_refused(kind: Kind, count: int, stream: list[int], size: int, word: str) -> None:
    parts: dict[str, Any] = {
        "values": np.ones(count, np.float32),
        encoding.PARTS[kind][1]: np.array(stream, np.uint8),
    }
    with pytest.raises(BundleError, match=word):
        decode(kind, parts, (size,), "a.regrow: w")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=12), st.integers(0, 20), st.sampled_from(["rice", "bitmask"]))
def test_any_stream_decodes_to_its_count_or_is_refused(stream: bytes, count: int, kind: Kind) -> None:
    parts: dict[str, Any] = {
        "values": np.ones(count, np.float32),
        encoding.PARTS[kind][1]: np.frombuffer(stream, np.uint8),
    }
    try:
        _, kept = decode(kind, parts, (60,))
    except BundleError:
        return
    assert kept is not None
    assert np.count_nonzero(kept) == count


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("dense", {"": np.ones((3, 2), np.float32)}),
        ("dense", {"": np.ones((2, 3), np.int64)}),
        ("rice", {"values": np.ones((1, 1), np.float32), "gaps": np.array([0, 1], np.uint8)}),
        ("rice", {"values": np.ones(1, np.int32), "gaps": np.array([0, 1], np.uint8)}),
        ("rice", {"values": np.ones(1, np.float32), "gaps": np.array([0, 1], np.int64)}),
        ("bitmask", {"values": np.ones(1, np.float32), "bits": np.array([[1]], np.uint8)}),
    ],
)
def test_parts_of_a_wrong_shape_or_dtype_are_refused(kind: Kind, parts: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="expected"):
        decode(kind, parts, (2, 3))


def test_sparse_tensors_have_a_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MAX_SPARSE", 3)
    with pytest.raises(BundleError, match="store it dense"):
        encode_sparse(np.ones(1, np.float32), np.array([True, False, False, False]))
