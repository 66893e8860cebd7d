"""How the values of a tensor are stored: fp32, fp16, or int8 with a scale per index of the first dimension.

`rounded` is what a reader gives back for a tensor, so rounding twice changes nothing. `widen` and `check`
believe nothing that a file says. Which positions are stored is not known here.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from regrow.fields import Words, fail

Values = Literal["fp32", "fp16", "int8"]
Array = NDArray[Any]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

VALUES: dict[Values, np.dtype[Any]] = {
    "fp32": np.dtype("<f4"),
    "fp16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
}
# The part beside the values where there is one.
SCALES = "scales"
# A scale is a normal number, and no scale times 127 is infinite.
MIN_SCALE, MAX_SCALE = 2.0**-126, 2.0**120
_LEVELS = 127
# 24 bits of fp32 less the 7 of a level: the product of a level and such a scale is exact.
_SCALE_BITS = 17


def narrow(w: Floats, kept: Mask | None, values: Values) -> dict[str, Array]:
    """The stored values, keyed "", and where int8 their scales; of the kept positions only, in C order."""
    chosen = w if kept is None else w[kept]
    if values == "fp32":
        return {"": chosen}
    if values == "fp16":
        return {"": _half(chosen)}
    scales = scales_of(w)
    levels = np.rint(w / _column(scales, w.ndim)).astype(np.int8)
    return {"": levels if kept is None else levels[kept], SCALES: scales}


def widen(stored: Array, scales: Array | None, kept: Mask | None = None) -> Floats:
    """Stored values as float32: a view where they are fp32."""
    wide: Floats = stored.astype(np.float32, copy=False)
    if scales is None:
        return wide
    if kept is None:
        wide *= _column(scales, stored.ndim)
    else:
        rows = kept.reshape(len(scales), math.prod(kept.shape[1:]))
        wide *= np.repeat(scales, np.count_nonzero(rows, axis=1))
    return wide


def rounded(w: Floats, values: Values) -> Floats:
    """What a reader gives back for `w`."""
    parts = narrow(w, None, values)
    return widen(parts[""], parts.get(SCALES))


def scales_of(w: Floats) -> Floats:
    """Per index of the first dimension: the least scale of few bits that reaches its largest value."""
    if w.ndim == 0 or not np.isfinite(w).all():
        found = Words("a scalar" if w.ndim == 0 else "values that are not finite")
        raise fail("encode", found, "finite values in one dimension or more for int8", "store it as fp32")
    largest = np.abs(w.reshape(len(w), math.prod(w.shape[1:]))).max(axis=1, initial=0).astype(np.float64)
    mantissa, exponent = np.frexp(largest / _LEVELS)
    least = np.ldexp(np.ceil(np.ldexp(mantissa, _SCALE_BITS)), exponent - _SCALE_BITS)
    if least.max(initial=0) > MAX_SCALE:
        raise fail("encode", Words(f"a scale of {least.max():.1e}"), "at most 2^120", "store it as fp32")
    made: Floats = np.maximum(least, MIN_SCALE).astype(np.float32)
    return made


def check(stored: Array, scales: Array | None, rows: tuple[int, ...], place: str) -> None:
    """Refuse stored values and scales that `narrow` cannot have made; `rows` is the shape of the scales."""
    if (stored.dtype == np.int8) != (scales is not None):
        found = Words(f"{stored.dtype} with{'out' if scales is None else ''} scales")
        raise fail(place, found, "scales beside int8 and nothing else")
    if scales is None:
        return
    place = f"{place}.{SCALES}"
    if scales.dtype != np.float32 or scales.shape != rows or len(rows) != 1:
        found = Words(f"{scales.dtype}{list(scales.shape)}")
        raise fail(place, found, f"float32{list(rows)}, one scale per index of the first dimension")
    wrong = scales[~((scales >= MIN_SCALE) & (scales <= MAX_SCALE))]
    if wrong.size:
        raise fail(place, Words(str(wrong[0])), "scales from 2^-126 to 2^120")
    if stored.size and stored.min() < -_LEVELS:
        raise fail(place, Words("a value of -128"), f"values from -{_LEVELS} to {_LEVELS}")


def information_bound(shape: tuple[int, ...], kept: int, values: Values) -> float:
    """Bytes that a tensor needs where its mask has no pattern: the entropy of the mask, values and scales."""
    size = math.prod(shape)
    share = kept / size if size else 1.0
    bits = -sum(p * math.log2(p) for p in (share, 1 - share) if p > 0)
    return size * bits / 8 + stored_bytes(shape, kept, values)


def stored_bytes(shape: tuple[int, ...], kept: int, values: Values) -> int:
    """Bytes of the values and their scales, without the mask."""
    return kept * VALUES[values].itemsize + (4 * shape[0] if values == "int8" and shape else 0)


def _half(w: Floats) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        half = w.astype(np.float16)
    lost = int(np.count_nonzero(np.isinf(half) & np.isfinite(w)))
    if lost:
        raise fail("encode", Words(f"{lost} values above 65504"), "values that fit fp16", "store it as fp32")
    return half


def _column(scales: Array, rank: int) -> Array:
    """Scales shaped to multiply along the first dimension."""
    return scales.reshape(-1, *[1] * (rank - 1))
