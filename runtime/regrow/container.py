"""Read and write the one container of bundles, deltas and checkpoints: a safetensors file with a digest.

`write` lays tensors out by item size (no holes, every tensor aligned to its dtype) behind a header padded so
that data starts on 64 bytes; the last tensor, `sha256`, digests every byte before it. `read` maps the file
read-only and checks structure, spans and digest before it hands out a view. What the tensors mean is
not known here.
"""

import math
import mmap
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.digest import sha256
from regrow.fields import Fields, Words, check_integer, check_text, dumps, fail, loads, show_name
from regrow.files import StrPath, atomic_write

Array = NDArray[Any]

ALIGNMENT = 64
MAX_HEADER = 16 * 2**20
DIGEST = "sha256"
METADATA = "__metadata__"
DTYPES: dict[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "F16": np.dtype("<f2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_CODES = {dtype.newbyteorder("="): code for code, dtype in DTYPES.items()}
_DIGEST_BYTES = 32


@dataclass(frozen=True, eq=False)
class Container:
    """A validated file: its metadata, and read-only views of its tensors in file order."""

    path: str
    metadata: dict[str, str]
    tensors: dict[str, Array]
    digest: str


@dataclass(frozen=True)
class _Span:
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def write(path: StrPath, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    """Write tensors (kept in the given order within one item size) and return the hex digest."""
    chunks, digest = pack(str(path), tensors, metadata)
    atomic_write(path, chunks)
    return digest


def pack(
    path: str, tensors: Mapping[str, Array], metadata: Mapping[str, str]
) -> tuple[list[bytes | memoryview], str]:
    """The bytes of a file in chunks, and their hex digest; `path` only names the place in errors."""
    arrays = {name: _plain(array, f"{path}: {name}") for name, array in tensors.items()}
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    header: dict[str, Any] = {METADATA: dict(metadata)}
    _metadata(header, path)
    end = 0
    for name, array in [*ordered, (DIGEST, np.zeros(_DIGEST_BYTES, np.uint8))]:
        check_text(name, f"{path}: tensor name")
        if name in header:
            raise fail(f"{path}: {name}", Words("a reserved name"), "another name", "rename the tensor")
        begin, end = end, end + array.nbytes
        code = _CODES[array.dtype.newbyteorder("=")]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = dumps(header, path).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise fail(
            f"{path}: header", Words(f"{len(text)} bytes"), f"at most {MAX_HEADER}", "store less metadata"
        )
    chunks: list[bytes | memoryview] = [len(text).to_bytes(8, "little"), text]
    chunks += [array.reshape(-1).view(np.uint8).data for _, array in ordered]
    digest = sha256(sum(map(len, chunks)))
    for chunk in chunks:
        digest.update(chunk)
    return [*chunks, digest.digest()], digest.hexdigest()


def _plain(array: Array, place: str) -> Array:
    """The array as C-ordered little-endian memory (a copy only where it is not)."""
    code = _CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        raise fail(
            place, Words(str(array.dtype)), f"one of {', '.join(map(str, _CODES))}", "convert it first"
        )
    return np.asarray(array, DTYPES[code], order="C")


def read(path: StrPath) -> Container:
    """Map, validate and digest a file; any doubt about it is a BundleError."""
    return _parsed(_map(path), str(path))


def parse(data: bytes, path: str) -> Container:
    """The same for bytes at hand; `path` only names them in errors."""
    _check_length(len(data), path)
    return _parsed(np.frombuffer(data, np.uint8), path)


def _parsed(data: NDArray[np.uint8], path: str) -> Container:
    header, start = _header(data, path)
    metadata = _metadata(header, path)
    spans = [_span(name, entry, path) for name, entry in header.items() if name != METADATA]
    spans.sort(key=lambda span: (span.begin, span.end))
    _check_cover(spans, data.size - start, path)
    digest = _check_digest(data, spans, path)
    tensors = {span.name: _view(data, start, span, path) for span in spans[:-1]}
    return Container(path, metadata, tensors, digest)


def _check_length(size: int, path: str) -> None:
    if size < ALIGNMENT + _DIGEST_BYTES:
        raise fail(path, Words(f"{size} bytes"), f"at least {ALIGNMENT + _DIGEST_BYTES}")


def _map(path: StrPath) -> NDArray[np.uint8]:
    try:
        # Opening a pipe would wait for a writer, so ask what it is before opening.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise fail(str(path), Words("no regular file"), "a file", "check the path")
        with open(path, "rb") as file:
            _check_length(os.fstat(file.fileno()).st_size, str(path))
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = Words(getattr(error, "strerror", None) or str(error))
        raise fail(str(path), reason, "a readable file", "check the path and its permissions") from error


def _header(data: NDArray[np.uint8], path: str) -> tuple[dict[str, Any], int]:
    """The header object and where data starts."""
    place = f"{path}: header"
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > MAX_HEADER:
        raise fail(place, Words(f"{length} bytes"), f"at most {MAX_HEADER}")
    if 8 + length > data.size:
        raise fail(place, Words(f"{length} bytes in a file of {data.size}"), "a whole header")
    if (8 + length) % ALIGNMENT:
        raise fail(place, Words(f"data at byte {8 + length}"), f"a multiple of {ALIGNMENT}")
    text = data[8 : 8 + length].tobytes()
    if not text.startswith(b"{"):
        raise fail(place, text[:8], "a JSON object at byte 8")
    return Fields(loads(text, place), place).values, 8 + length


def _metadata(header: dict[str, Any], path: str) -> dict[str, str]:
    metadata = Fields(header, f"{path}: header").object(METADATA)
    for key, value in metadata.values.items():
        if not isinstance(value, str):
            raise fail(metadata.at(key), value, "a string")
    return metadata.values


def _span(name: str, entry: object, path: str) -> _Span:
    check_text(name, f"{path}: tensor name")
    fields = Fields(entry, f"{path}: {show_name(name)}")
    dtype = DTYPES[fields.choice("dtype", tuple(DTYPES))]
    shape = fields.shape("shape")
    offsets = [check_integer(value, at) for value, at in fields.items("data_offsets")]
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise fail(fields.at("data_offsets"), offsets, "[begin, end] with begin <= end")
    begin, end = offsets
    want = math.prod(shape) * dtype.itemsize
    if end - begin != want:
        raise fail(fields.at("data_offsets"), Words(f"{end - begin} bytes"), f"{want} ({dtype}{list(shape)})")
    if begin % dtype.itemsize:
        raise fail(fields.at("data_offsets"), offsets, f"a begin divisible by {dtype.itemsize} ({dtype})")
    return _Span(name, dtype, shape, begin, end)


def _check_cover(spans: list[_Span], size: int, path: str) -> None:
    """Spans in order must cover the data exactly: no hole, no overlap, no byte past the end."""
    end = 0
    for span in spans:
        if span.begin != end:
            kind = "a hole" if span.begin > end else "an overlap"
            place = f"{path}: {show_name(span.name)}.data_offsets"
            raise fail(place, Words(f"{kind} ({span.begin})"), f"a begin of {end}")
        end = span.end
    if end != size:
        raise fail(f"{path}: data", Words(f"{size} bytes"), f"{end} as the header says")


def _check_digest(data: NDArray[np.uint8], spans: list[_Span], path: str) -> str:
    """Compare the last 32 bytes with the digest of everything before them."""
    last = spans[-1] if spans else None
    if last is None or last.name != DIGEST or last.dtype != np.uint8 or last.shape != (_DIGEST_BYTES,):
        raise fail(f"{path}: {DIGEST}", Words("no digest at the end"), "a last tensor sha256, U8 [32]")
    stored = data[-_DIGEST_BYTES:].tobytes().hex()
    digest = sha256(len(data))
    digest.update(data[:-_DIGEST_BYTES].data)
    found = digest.hexdigest()
    if found != stored:
        raise fail(f"{path}: {DIGEST}", Words(found), f"{stored} as the file says")
    return stored


def _view(data: NDArray[np.uint8], start: int, span: _Span, path: str) -> Array:
    raw = data[start + span.begin : start + span.end]
    # numpy computes nonsense with a bool whose byte is neither 0 nor 1.
    if span.dtype == np.bool_ and raw.size and raw.max() > 1:
        raise fail(f"{path}: {show_name(span.name)}", Words(f"byte {raw.max()}"), "bools of byte 0 or 1")
    return raw.view(span.dtype).reshape(span.shape)
