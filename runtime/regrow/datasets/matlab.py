"""One row of whole numbers out of a MATLAB 5 file. Reads nothing else of that format; executes nothing."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regrow.errors import SampleError

_MOST = 1 << 20  # bytes, unpacked: ten times the labels of ten thousand pictures
_MATRIX, _COMPRESSED = 14, 15
_CLASSES = range(
    6, 14
)  # arrays of numbers, from double to uint32; text, cells, structs and objects are others
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}


def row(path: Path, name: str) -> NDArray[np.int64]:
    """The 1 x n array called `name`, which is the first in the file."""
    try:
        with path.open("rb") as file:
            return _row(file.read(_MOST), name)
    except (OSError, ValueError, struct.error, zlib.error) as error:
        raise SampleError(
            f"{path}: {error}, expected a MATLAB 5 file that begins with the row {name!r}; fetch it again"
        ) from error


def _row(data: bytes, name: str) -> NDArray[np.int64]:
    if data[124:128] != b"\x00\x01IM":
        raise ValueError("no header of MATLAB 5 with the lowest byte first")
    kind, content, _ = _element(data[128:])
    if kind == _COMPRESSED:
        stream = zlib.decompressobj()
        content = stream.decompress(content, _MOST)
        if not stream.eof:
            raise ValueError(f"a compressed part that breaks off or exceeds {_MOST} bytes")
        kind, content, _ = _element(content)
    if kind != _MATRIX:
        raise ValueError(f"a part of kind {kind} in place of an array")
    _, flags, rest = _element(content)
    _, sizes, rest = _element(rest)
    _, called, rest = _element(rest)
    stored, values, _ = _element(rest)
    if called != name.encode():
        raise ValueError(f"an array called {called[:32].decode('latin-1')!r}")
    if len(flags) != 8 or flags[0] not in _CLASSES or flags[1] & 8 or stored not in _NUMBERS:
        raise ValueError("an array of something else than real numbers")
    numbers = np.frombuffer(values, _NUMBERS[stored])
    if sizes != struct.pack("<2i", 1, len(numbers)):
        raise ValueError(f"{len(numbers)} numbers of another shape than one row")
    if not (np.abs(numbers.astype(np.float64)) < 2**31).all() or (numbers % 1 != 0).any():
        raise ValueError("numbers that are not whole")
    return numbers.astype(np.int64)


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """(kind, content, what follows) of the part that stands first."""
    kind, size = struct.unpack_from("<2I", data)
    start, end = 8, 8 + size + -size % 8
    if kind >> 16:  # up to four bytes stand in the second half of the tag
        kind, size, start, end = kind & 0xFFFF, kind >> 16, 4, 8
    if start + size > min(end, len(data)):
        raise ValueError(f"a part of {size} bytes, of which {max(0, len(data) - start)} are there")
    return kind, data[start : start + size], data[end:]
