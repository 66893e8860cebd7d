"""Read a person's samples from a file or folder into arrays of the model's input shape.

| path                        | samples                   | labels                                     |
|-----------------------------|---------------------------|--------------------------------------------|
| NAME.npz                    | array `x`                 | array `y`                                  |
| NAME.npy                    | the array                 | NAME.labels.npy beside it                  |
| NAME.csv                    | every other column        | column `label` (`target`: a number to fit) |
| folder, or one .png / .jpg  | images                    | the name of the folder that holds an image |

A column `user`, else `device`, says whose a sample is; neither is a value of it. Bytes (uint8) stay bytes,
every other number becomes float32 as it stands: scaling is the model's. Nothing is unpickled, sizes are
checked before memory is taken, and every refusal is a SampleError (a missing Pillow an UnsupportedError).
Labels are texts, whole numbers, or (regression) floats (n, outputs).
"""

from __future__ import annotations

import csv
import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from regrow.episodes import images
from regrow.errors import SampleError

OWNERS = ("user", "device")  # columns that say whose a sample is; the first that is there counts
MAX_BYTES = 2**31  # of one file or archive member, unpacked

Labels = list[str] | list[int] | NDArray[np.float32] | None
Array = NDArray[Any]


class Samples(NamedTuple):
    """x: (n, *shape) float32 or uint8; labels: one per sample; names: where each sample came from."""

    x: NDArray[np.float32 | np.uint8]
    labels: Labels
    names: list[str]


def load_samples(
    path: str | Path, shape: Sequence[int] | None = None, labelled: bool = True, invert: bool = False
) -> Samples:
    """Read samples of `shape` (None: as they come; images need it); labels are required when `labelled`.

    Images are fitted to shape (channels, height, width) and, with `invert`, dark ink becomes 1.
    """
    path = Path(path)
    where = str(path)
    try:
        x, labels, names = _reader(path)(path, None if shape is None else tuple(shape), invert)
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        MemoryError,
        UnicodeDecodeError,
        csv.Error,
    ) as error:
        raise SampleError(f"{where}: cannot be read ({error}); check that it is a whole file") from error
    values = _checked(x, where, shape)
    if labels is None and labelled:
        raise SampleError(f"{where}: holds no labels, expected {_expected_labels(path)}; add them")
    if labels is not None and len(labels) != len(x):
        raise SampleError(f"{where}: {len(labels)} labels for {len(x)} samples; give one label per sample")
    return Samples(values, labels, names)


def load_labels(path: str | Path) -> list[str] | list[int] | NDArray[np.float32]:
    """Read labels alone: a .npy array, or a .txt file with one per line."""
    path = Path(path)
    if path.suffix.lower() not in (".npy", ".txt"):
        raise SampleError(f"{path}: unknown suffix {path.suffix!r}, expected .npy or .txt; convert the file")
    try:
        if path.suffix.lower() == ".npy":
            return _labels(parse_npy(path.read_bytes(), str(path)), str(path))
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(f"{path}: cannot be read ({error}); check that it is a whole file") from error
    names = [f"line {i}" for i in range(1, len(lines) + 1)]
    return _classes([line.strip() for line in lines], names, str(path))


Read = Callable[[Path, tuple[int, ...] | None, bool], tuple[Array, Labels, list[str]]]


def _reader(path: Path) -> Read:
    if path.is_dir():
        return images.read
    if not path.exists():
        raise SampleError(f"{path}: not found; give an .npz, .npy or .csv file, an image or a folder")
    suffix = path.suffix.lower()
    if suffix in images.SUFFIXES:
        return images.read
    if suffix not in READERS:
        known = ", ".join([*READERS, *images.SUFFIXES])
        raise SampleError(
            f"{path}: unknown suffix {suffix!r}, expected {known} or a folder; convert the file"
        )
    if path.stat().st_size > MAX_BYTES:
        raise SampleError(f"{path}: larger than {MAX_BYTES} bytes; split the file")
    return READERS[suffix]


def _read_npz(path: Path, shape: tuple[int, ...] | None, invert: bool) -> tuple[Array, Labels, list[str]]:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if "x" not in members:
            raise SampleError(f"{path}: no array 'x', found {sorted(members)}; save as np.savez(f, x=x, y=y)")
        arrays = {}
        for name in ("x", "y"):
            if name not in members:
                continue
            if members[name].file_size > MAX_BYTES:
                raise SampleError(f"{path}: {name}: unpacks to more than {MAX_BYTES} bytes; split the file")
            try:
                data = archive.read(members[name])
            # RuntimeError: a password, or a compression that zipfile does not know.
            except (RuntimeError, EOFError) as error:
                raise SampleError(f"{path}: {name}: {error}; save it again with numpy.savez") from error
            arrays[name] = parse_npy(data, f"{path}: {name}")
    labels = _labels(arrays["y"], f"{path}: y") if "y" in arrays else None
    return arrays["x"], labels, _numbered(path, arrays["x"])


def _read_npy(path: Path, shape: tuple[int, ...] | None, invert: bool) -> tuple[Array, Labels, list[str]]:
    x = parse_npy(path.read_bytes(), str(path))
    beside = path.with_suffix(".labels.npy")
    labels = _labels(parse_npy(beside.read_bytes(), str(beside)), str(beside)) if beside.exists() else None
    return x, labels, _numbered(path, x)


def _read_csv(path: Path, shape: tuple[int, ...] | None, invert: bool) -> tuple[Array, Labels, list[str]]:
    header, rows = _rows(path)
    at = next((header.index(name) for name in ("label", "target") if name in header), None)
    beside = {at, *(header.index(name) for name in OWNERS if name in header)}
    values = [
        [_number(cell, f"{path}: line {line}") for i, cell in enumerate(row) if i not in beside]
        for line, row in rows.items()
    ]
    names = [f"{path.name}:{line}" for line in rows]
    x = np.array(values, dtype=np.float64).reshape(len(values), -1 if values else 0)
    if shape is not None and x.shape[1] == math.prod(shape):
        x = x.reshape(-1, *shape)
    if at is None:
        return x, None, names
    texts = [row[at].strip() for row in rows.values()]
    if header[at] == "label":
        return x, _classes(texts, names, str(path)), names
    targets = [_number(text, f"{path}: target of {name}") for text, name in zip(texts, names, strict=True)]
    return x, _labels(np.array(targets, dtype=np.float64), f"{path}: target"), names


def _rows(path: Path) -> tuple[list[str], dict[int, list[str]]]:
    """The header, and the cells of each line that is not blank, by line number."""
    lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    header = [cell.strip() for cell in lines[0]] if lines else []
    rows = {line: row for line, row in enumerate(lines[1:], start=2) if row}
    for line, row in rows.items():
        if len(row) != len(header):
            raise SampleError(
                f"{path}: line {line}: {len(row)} cells, expected {len(header)} like the header; fix the line"
            )
    return header, rows


READERS: dict[str, Read] = {".npz": _read_npz, ".npy": _read_npy, ".csv": _read_csv}


# A header is a Python literal: numpy lets what its tokenizer and parser make of a damaged one through.
HEADER_ERRORS = (ValueError, TypeError, OverflowError, SyntaxError, tokenize.TokenError)


def parse_npy(data: bytes, where: str) -> Array:
    """Parse .npy bytes; the header must account for every byte, so no claim of it can take memory."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    except HEADER_ERRORS as error:
        raise SampleError(f"{where}: not a .npy array ({error}); save it with numpy.save") from error
    if dtype.hasobject:
        raise SampleError(f"{where}: holds Python objects, expected numbers or texts; convert with astype")
    have, need = len(data) - stream.tell(), math.prod(shape) * dtype.itemsize
    if have != need:
        raise SampleError(f"{where}: {have} bytes of data, expected {need} ({dtype}{shape}); save it again")
    stream.seek(0)
    try:
        array: Array = np.load(stream, allow_pickle=False)
    except HEADER_ERRORS as error:  # an empty array may still claim an axis that no machine can count
        raise SampleError(f"{where}: not a .npy array ({error}); save it with numpy.save") from error
    return array


def _classes(texts: list[str], names: list[str], where: str) -> list[str] | list[int]:
    """Class labels as whole numbers where all of them are, else as texts."""
    empty = next((name for text, name in zip(texts, names, strict=True) if not text), None)
    if empty is not None:
        raise SampleError(f"{where}: the label of {empty} is empty; name a class on every line")
    whole = all(text.isascii() and text.isdigit() and len(text) < 10 for text in texts)
    return [int(text) for text in texts] if whole else texts


def _labels(y: Array, where: str) -> list[str] | list[int] | NDArray[np.float32]:
    """Texts or whole numbers (n,), or floats (n,) or (n, outputs)."""
    if y.dtype.kind == "f" and y.ndim in (1, 2):
        targets = _float32(y.reshape(len(y), -1))
        if not np.isfinite(targets).all():
            raise SampleError(f"{where}: row {_first_bad(targets)} is not a finite number; remove it")
        return targets
    if y.ndim != 1 or y.dtype.kind not in "iuU":
        raise SampleError(
            f"{where}: labels are {y.dtype} of shape {y.shape}, expected one text or whole number per "
            "sample; convert them"
        )
    return [str(v) for v in y] if y.dtype.kind == "U" else [int(v) for v in y]


def _checked(x: Array, where: str, shape: Sequence[int] | None) -> NDArray[np.float32 | np.uint8]:
    if x.dtype.kind not in "fiub" or x.ndim == 0:
        raise SampleError(
            f"{where}: samples are {x.dtype} of shape {x.shape}, expected numbers; convert them"
        )
    if len(x) == 0:
        raise SampleError(f"{where}: holds no samples; add at least one")
    if shape is not None:
        if [s for s in x.shape[1:] if s != 1] != [s for s in shape if s != 1]:
            raise SampleError(
                f"{where}: samples have shape {x.shape[1:]}, expected {tuple(shape)}; reshape or "
                "resample them"
            )
        x = x.reshape(-1, *shape)
    if x.dtype == np.uint8:
        return x
    values = _float32(x)
    if not np.isfinite(values).all():
        raise SampleError(f"{where}: sample {_first_bad(values)} holds NaN or infinity; remove or repair it")
    return values


def _float32(x: Array) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # too large becomes infinity, which the caller refuses by place
        return x.astype(np.float32)


def _first_bad(values: NDArray[np.float32]) -> int:
    return int(np.argmin(np.isfinite(values.reshape(len(values), -1)).all(1)))


def _number(cell: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise SampleError(f"{where}: {cell!r} is not a number; fix the cell") from None


def _numbered(path: Path, x: Array) -> list[str]:
    return [f"{path.name}[{i}]" for i in range(len(x) if x.ndim else 0)]


def _expected_labels(path: Path) -> str:
    by_suffix = {
        ".npz": "an array 'y'",
        ".npy": f"{path.with_suffix('.labels.npy').name} beside it",
        ".csv": "a column 'label'",
    }
    return (
        by_suffix.get(path.suffix.lower(), "a folder per class")
        if not path.is_dir()
        else "a folder per class"
    )
