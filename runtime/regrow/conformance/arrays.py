"""Named arrays in an uncompressed .npz: the same bytes for the same arrays, read as a stranger's file."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from regrow.fields import MAX_RANK, Words, fail, show_name

Array = NDArray[Any]

DTYPES = ("<f4", "<f8", "<i8", "|b1")
_SUFFIX = ".npy"
_EPOCH = (1980, 1, 1, 0, 0, 0)
# Everything that zipfile raises for a damaged archive, or one of a kind it does not read.
_DAMAGED = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    struct.error,
)


def pack(arrays: Mapping[str, Array]) -> bytes:
    """The file of some arrays, in the order of their names."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(arrays):
            body = io.BytesIO()
            npy.write_array(body, np.asarray(arrays[name], order="C"), version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}{_SUFFIX}", _EPOCH), body.getvalue())
    return stream.getvalue()


def parse(data: bytes, place: str) -> dict[str, Array]:
    """The arrays of a file, read-only; any doubt about it is a BundleError. Nothing is unpickled."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check(entries, len(data), place)
            bodies = {entry.filename.removesuffix(_SUFFIX): archive.read(entry) for entry in entries}
    except _DAMAGED as error:
        raise fail(place, Words(f"no readable zip archive ({error})"), "an uncompressed .npz") from error
    return {name: _array(body, f"{place}: {show_name(name)}") for name, body in bodies.items()}


def _check(entries: list[zipfile.ZipInfo], size: int, place: str) -> None:
    """Before anything is unpacked: nothing compressed, no name twice, no more bytes than the file has."""
    names = [entry.filename for entry in entries]
    for entry in entries:
        at = f"{place}: {show_name(entry.filename)}"
        if not entry.filename.endswith(_SUFFIX) or names.count(entry.filename) > 1:
            raise fail(at, Words("this entry"), f"names that end in {_SUFFIX}, each once")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise fail(at, Words("a compressed or encrypted entry"), "a stored one")
    if sum(entry.file_size for entry in entries) > size:
        raise fail(place, Words("entries larger than the file"), "entries that lie side by side")


def _array(body: bytes, place: str) -> Array:
    stream = io.BytesIO(body)
    try:
        version = npy.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"version {version}")
        shape, fortran, dtype = npy.read_array_header_1_0(stream)
    except (ValueError, EOFError) as error:
        raise fail(place, Words(f"no readable .npy header ({error})"), "a .npy array, version 1.0") from error
    if dtype.str not in DTYPES or fortran:
        raise fail(place, Words(f"{dtype.str}, fortran_order {fortran}"), f"{', '.join(DTYPES)} in C order")
    if len(shape) > MAX_RANK or any(type(d) is not int or d < 0 for d in shape):
        raise fail(place, Words(f"shape {shape}"), f"at most {MAX_RANK} dimensions, none below zero")
    rest = memoryview(body)[stream.tell() :]
    if math.prod(shape) * dtype.itemsize != len(rest):
        raise fail(place, Words(f"{len(rest)} bytes of data"), f"those of {dtype.str}{list(shape)}")
    if dtype == np.bool_ and any(byte > 1 for byte in rest):
        raise fail(place, Words("a truth value above 1"), "0 or 1")
    return np.frombuffer(rest, dtype).reshape(shape)
