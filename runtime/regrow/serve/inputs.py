"""Bodies of requests into samples of a model's shape. Everything is judged before memory is taken for it."""

from __future__ import annotations

import csv
import io
import json
import math
import wave
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow import samples
from regrow.episodes import images
from regrow.episodes.readers import parse_npy
from regrow.errors import SampleError
from regrow.manifest import InputSpec
from regrow.serve.limits import Limits
from regrow.serve.problems import ProblemError, limit

Array = NDArray[Any]

NPY = "application/x-npy"
PLACE = "sample"
_WIDTHS: dict[int, tuple[str, float, float]] = {1: ("u1", 128.0, 128.0), 2: ("<i2", 0.0, 2.0**15)}
_WIDTHS |= {4: ("<i4", 0.0, 2.0**31)}


def media_type(header: str | None) -> str:
    """The content type without its parameters."""
    return (header or "").partition(";")[0].strip().lower()


def decode(header: str | None, body: bytes, spec: InputSpec, limits: Limits) -> Array:
    """The samples a body holds, (n, *shape), float32 or uint8 as they came, judged."""
    kind = media_type(header)
    if kind not in READERS:
        raise ProblemError(
            "media-type", f"body: content type {kind!r}, expected one of {', '.join(READERS)}; convert it"
        )
    x = READERS[kind](body, spec, limits)
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


def _wav(body: bytes, spec: InputSpec, limits: Limits) -> Array:
    """PCM in [-1, 1]. A longer recording is cut to its loudest stretch, a shorter one padded with silence."""
    try:
        with wave.open(io.BytesIO(body)) as file:
            channels, width, count = file.getnchannels(), file.getsampwidth(), file.getnframes()
            raw = file.readframes(min(count, len(body)))
    except (wave.Error, EOFError, ValueError, ZeroDivisionError) as error:
        raise SampleError(f"{PLACE}: no WAV file ({error}); record PCM of 8, 16 or 32 bits") from error
    if width not in _WIDTHS or not channels or not raw or len(raw) % (width * channels):
        raise SampleError(
            f"{PLACE}: {8 * width} bits, {channels} channels, {len(raw)} bytes, expected whole frames of "
            "8, 16 or 32 bits; save it as 16-bit PCM"
        )
    code, zero, scale = _WIDTHS[width]
    sound = (np.frombuffer(raw, code).astype(np.float64) - zero) / scale
    return _stretch(sound.reshape(-1, channels).T, spec)[None]


def _stretch(sound: Array, spec: InputSpec) -> Array:
    """(channels, frames) -> spec.shape."""
    if spec.kind == "image" or len(spec.shape) > 2:
        raise SampleError(
            f"{PLACE}: a recording, but this model takes shape {spec.shape}; send images or arrays"
        )
    wanted, length = math.prod(spec.shape[:-1]), spec.shape[-1]
    if wanted == 1:
        sound = sound.mean(0, keepdims=True)
    if len(sound) != wanted:
        raise SampleError(f"{PLACE}: {len(sound)} channels, expected {wanted}; record as many")
    if sound.shape[1] > length:
        energy = np.concatenate([[0.0], np.cumsum((sound**2).sum(0))])
        start = int(np.argmax(energy[length:] - energy[:-length]))
        sound = sound[:, start : start + length]
    return np.pad(sound, ((0, 0), (0, length - sound.shape[1]))).reshape(spec.shape)


READERS: dict[str, Callable[[bytes, InputSpec, Limits], Array]] = {
    "application/json": _json,
    NPY: _npy,
    "image/png": _image,
    "image/jpeg": _image,
    "text/csv": _csv,
    "audio/wav": _wav,
}
