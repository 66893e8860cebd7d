"""Bodies of requests into samples of a model's shape. Everything is judged before memory is taken for it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow import samples
from regrow.episodes import images
from regrow.episodes.readers import parse_npy
from regrow.errors import SampleError
from regrow.manifest import InputSpec
from regrow.serve import sound
from regrow.serve.limits import Limits
from regrow.serve.problems import ProblemError, limit

Array = NDArray[Any]

NPY = "application/x-npy"
PLACE = "sample"


def media_type(header: str | None) -> str:
    """The content type without its parameters."""
    return (header or "").partition(";")[0].strip().lower()


def decode(header: str | None, body: bytes, spec: InputSpec, limits: Limits, rate: int) -> Array:
    """The samples a body holds, (n, *shape), float32 or uint8 as they came, judged; sound at `rate`."""
    kind = media_type(header)
    if kind not in KINDS:
        raise ProblemError(
            "media-type", f"body: content type {kind!r}, expected one of {', '.join(KINDS)}; convert it"
        )
    x = sound.read(body, spec, rate)[None] if kind == sound.WAV else READERS[kind](body, spec, limits)
    if len(x) > limits.batch:
        raise limit("samples in one request", len(x), limits.batch, "send them in parts")
    samples.as_input(x, spec, PLACE)
    return x


def is_blank(x: Array) -> bool:
    """Whether a sample of several values says nothing: all of them are equal."""
    return bool(x.size > 1 and np.ptp(x) == 0)


def pack(x: Array) -> bytes:
    """One sample as it is stored."""
    stream = io.BytesIO()
    np.save(stream, x, allow_pickle=False)
    return stream.getvalue()


def unpack(data: bytes) -> Array:
    """The inverse of `pack`."""
    return parse_npy(data, "stored sample")


def picture(x: Array, spec: InputSpec) -> bytes:
    """An image sample as the PNG a person recognises."""
    from PIL import Image

    values = x if x.dtype == np.uint8 else (np.clip(x, 0, 1) * 255).astype(np.uint8)
    shown = (255 - values if spec.invert else values).transpose(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(shown[:, :, 0] if shown.shape[2] == 1 else shown).save(stream, "PNG")
    return stream.getvalue()


def _npy(body: bytes, spec: InputSpec, limits: Limits) -> Array:
    return _batch(parse_npy(body, PLACE), spec)


def _json(body: bytes, spec: InputSpec, limits: Limits) -> Array:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProblemError(
            "bad-request", f'body: no JSON, expected {{"x": numbers}}; {type(error).__name__}'
        ) from error
    values = data.get("x") if isinstance(data, dict) else None
    try:
        x = np.asarray(values if isinstance(values, list) else None)
        # Python's numbers come as doubles and 64-bit ints; only their values are meant.
        x = x.astype(np.float64) if x.dtype.kind in "iuf" else x
    except (ValueError, OverflowError, RecursionError) as error:
        raise SampleError(f"{PLACE}: x is ragged, expected numbers of one shape; pad or crop them") from error
    if x.dtype != np.float64:
        raise SampleError(f"{PLACE}: x is no list of numbers, expected one; give one or more samples")
    return _batch(x, spec)


def _batch(x: Array, spec: InputSpec) -> Array:
    """One sample may come without its batch axis."""
    return x[None] if x.shape == spec.shape else x


def _image(body: bytes, spec: InputSpec, limits: Limits) -> Array:
    if spec.kind != "image":
        raise SampleError(f"{PLACE}: an image, but this model takes signals; send CSV, WAV or numbers")
    return images.decode(body, PLACE, spec.shape, spec.invert, limits.pixels)[None]


def _csv(body: bytes, spec: InputSpec, limits: Limits) -> Array:
    """A sample per row where rows have the size of a sample, else one sample with a row per time step."""
    size = math.prod(spec.shape)
    rows = _rows(body, max(size, limits.batch) + 1)
    widths = {len(row) for row in rows}
    if not rows or len(widths) != 1:
        raise SampleError(f"{PLACE}: rows of {sorted(widths)} numbers, expected all alike; repair the table")
    table = np.array(rows, np.float64)
    if table.shape[1] == size:
        return table.reshape(-1, *spec.shape)
    if len(spec.shape) == 2 and table.shape == spec.shape[::-1]:
        return table.T[None].copy()
    if table.shape == spec.shape or (table.size == size and 1 in table.shape):
        return table.reshape(1, *spec.shape)
    raise SampleError(
        f"{PLACE}: {table.shape[0]} rows of {table.shape[1]} numbers, expected rows of {size} (a "
        f"sample each) or one table of shape {spec.shape}; cut or resample it"
    )


def _rows(body: bytes, most: int) -> list[list[float]]:
    """The numbers of a table; a first row of words is taken for its header."""
    try:
        text = body.decode("utf-8-sig")
        dialect = ";" if ";" in text[:2000] else "\t" if "\t" in text[:2000] else ","
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=dialect) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SampleError(f"{PLACE}: no CSV text ({error}); save the table as UTF-8 CSV") from error
    if rows and not any(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    if len(rows) > most:
        raise limit("rows in one request", len(rows), most, "send them in parts")
    bad = [(i, cell) for i, row in enumerate(rows, 1) for cell in row if not _is_number(cell)]
    if bad:
        raise SampleError(f"{PLACE}: row {bad[0][0]}: {bad[0][1][:40]!r} is no number; repair the cell")
    return [[float(cell) for cell in row] for row in rows]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


READERS: dict[str, Callable[[bytes, InputSpec, Limits], Array]] = {
    "application/json": _json,
    NPY: _npy,
    "image/png": _image,
    "image/jpeg": _image,
    "text/csv": _csv,
}
KINDS = (*READERS, sound.WAV)
