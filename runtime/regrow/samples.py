"""Judge and scale what a user hands over, before anything else happens. Raises SampleError; changes nothing.

Bytes (uint8) are divided by 255; then every model input is (v - mean) / std as the bundle says. Inverting
images is a matter of reading files, not of arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regrow.errors import SampleError
from regrow.manifest import InputSpec, Manifest

_FLOATS = (np.float16, np.float32, np.float64)


def as_input(x: ArrayLike, spec: InputSpec, place: str) -> NDArray[np.float32]:
    """A batch of samples, (n, *spec.shape), as the model wants it."""
    raw = _array(x, place)
    wanted = f"(n, {', '.join(map(str, spec.shape))})"
    if raw.dtype.type not in (*_FLOATS, np.uint8):
        raise SampleError(f"{place}: dtype {raw.dtype}, expected float32 or uint8; convert the samples first")
    if raw.shape[1:] != spec.shape or raw.ndim != len(spec.shape) + 1:
        hint = (
            "add the batch axis with x[None]" if raw.shape == spec.shape else "reshape or resize the samples"
        )
        raise SampleError(f"{place}: shape {raw.shape}, expected {wanted}; {hint}")
    if len(raw) == 0:
        raise SampleError(f"{place}: no samples, expected one or more of shape {spec.shape}; give some")
    if raw.dtype == np.uint8:
        raw = raw.astype(np.float32) / np.float32(255)
    if raw.dtype == np.float64:
        with np.errstate(over="ignore"):  # one too large becomes inf and is refused as such
            scaled = raw.astype(np.float32, order="C")
    else:
        scaled = raw.astype(np.float32, order="C")
    refuse_not_finite(scaled, place)
    if spec.mean != 0.0 or spec.std != 1.0:
        scaled = (scaled - np.float32(spec.mean)) / np.float32(spec.std)
    return scaled


def as_targets(y: ArrayLike, made: Manifest, count: int, place: str) -> NDArray[np.float32]:
    """Regression targets, (count, *output shape); one number per sample may come without its axis."""
    raw = _array(y, place)
    shape = (count, *made.output.shape)
    if raw.dtype.type not in _FLOATS and raw.dtype.kind not in "iu":
        raise SampleError(f"{place}: dtype {raw.dtype}, expected float32; convert the targets first")
    if raw.shape == (count,) and made.output.shape == (1,):
        raw = raw[:, None]
    if raw.shape != shape:
        raise SampleError(f"{place}: shape {raw.shape}, expected {shape}; give one target per sample")
    with np.errstate(over="ignore"):
        targets = raw.astype(np.float32)
    refuse_not_finite(targets, place)
    return targets


def refuse_not_finite(values: NDArray[Any], place: str) -> None:
    """NaN and infinity would spread through every weight; says where the first one is."""
    finite = np.isfinite(values)
    if not finite.all():
        first = int(np.flatnonzero(~finite.reshape(len(values), -1).all(1))[0])
        bad = values[first][~finite[first]].flat[0]
        raise SampleError(
            f"{place}: {bad} in sample {first}, expected finite numbers; clean or drop the sample"
        )


def _array(values: ArrayLike, place: str) -> NDArray[Any]:
    try:
        raw = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise SampleError(
            f"{place}: no array ({error}), expected numbers of one shape; pad or crop them"
        ) from error
    return raw
