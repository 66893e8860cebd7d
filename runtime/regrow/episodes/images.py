"""Read PNG and JPEG images into bytes of one shape. Needs Pillow, which is imported only here."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from regrow.errors import SampleError, UnsupportedError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_PIXELS = 64_000_000  # a large phone photograph; more is taken for a decompression bomb
_MODES = {1: "L", 3: "RGB"}
Box = tuple[int, int, int, int]  # left, top, right, bottom; the latter two outside
_LITTER = {"thumbs.db", "desktop.ini"}  # what systems leave in folders, beside names that begin with a dot


def read(
    path: Path, shape: tuple[int, ...] | None, invert: bool
) -> tuple[NDArray[np.uint8], list[str] | None, list[str]]:
    """One image, a folder of images (no labels), or a folder per class: x (n, *shape), labels, names."""
    fitting = _image_shape(path, shape)
    pillow(path)  # asked for before any file is looked at
    files, labels = _files(path)
    x = np.stack([read_one(file, fitting) for file in files])
    return (255 - x if invert else x), labels, [str(file) for file in files]


def decode(
    data: bytes, place: str, shape: tuple[int, ...], invert: bool, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """One PNG or JPEG from bytes, fitted to `shape`; `place` names it in errors."""
    x = _fitted(io.BytesIO(data), place, _image_shape(place, shape), max_pixels)
    return 255 - x if invert else x


def _image_shape(place: Path | str, shape: tuple[int, ...] | None) -> tuple[int, int, int]:
    if shape is None or len(shape) != 3 or shape[0] not in _MODES:
        raise SampleError(
            f"{place}: images need a shape (1 or 3 channels, height, width), found {shape}; "
            "use arrays (.npz) for other inputs"
        )
    return shape[0], shape[1], shape[2]


def pillow(path: Path | str) -> ModuleType:
    """Pillow's image module, or an error that says what brings it."""
    try:
        import PIL.Image
    except ImportError:
        raise UnsupportedError(
            f"{path}: reading images needs Pillow, which is not installed; pip install 'regrow[images]'"
        ) from None
    return PIL.Image


def _files(path: Path) -> tuple[list[Path], list[str] | None]:
    """Image files in name order, and the folder name of each where there is a folder per class."""
    if not path.is_dir():
        return [path], None
    entries = _entries(path)
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        return _only_images(path, entries), None
    loose = [entry.name for entry in entries if not entry.is_dir()]
    if loose:
        raise SampleError(
            f"{path}: {loose[0]!r} lies beside {len(folders)} folders, expected only a folder per class; "
            "move it into its class"
        )
    inside = [files_of(folder) for folder in folders]
    labels = [folder.name for folder, files in zip(folders, inside, strict=True) for _ in files]
    return [file for files in inside for file in files], labels


def _entries(folder: Path) -> list[Path]:
    return sorted((e for e in folder.iterdir() if not is_litter(e)), key=lambda entry: entry.name)


def is_litter(entry: Path) -> bool:
    """Whether a system left it there."""
    return entry.name.startswith(".") or entry.name.lower() in _LITTER


def files_of(folder: Path) -> list[Path]:
    """The images of one class in name order; anything else among them is refused."""
    return _only_images(folder, _entries(folder))


def _only_images(folder: Path, entries: list[Path]) -> list[Path]:
    if not entries:
        raise SampleError(f"{folder}: holds no images; add some or remove the folder")
    for entry in entries:
        if entry.is_dir() or entry.suffix.lower() not in SUFFIXES:
            raise SampleError(f"{entry}: expected {', '.join(SUFFIXES)}; convert it or move it away")
    return entries


def read_one(file: Path, shape: tuple[int, int, int], box: Box | None = None) -> NDArray[np.uint8]:
    """One PNG or JPEG, or the part of it in the box, fitted to (channels, height, width)."""
    return _fitted(file, str(file), shape, MAX_PIXELS, box)


def _fitted(
    file: Path | io.BytesIO, place: str, shape: tuple[int, int, int], max_pixels: int, box: Box | None = None
) -> NDArray[np.uint8]:
    channels, height, width = shape
    image_module = pillow(place)
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, which _check_size refuses, and of odd metadata, which is harmless.
            warnings.simplefilter("ignore")
            with image_module.open(file, formats=("PNG", "JPEG")) as image:
                _check_size(place, image, max_pixels)
                part = image if box is None else _part(place, image, box)
                part.draft(_MODES[channels], (width, height))  # a JPEG is decoded no larger than needed
                fitted = _flat(part, _MODES[channels]).resize(
                    (width, height), image_module.Resampling.LANCZOS
                )
    # A damaged file reaches us as any of these from Pillow's decoders.
    except (OSError, SyntaxError, ValueError, image_module.DecompressionBombError) as error:
        raise SampleError(f"{place}: cannot be decoded ({error}); save it again as PNG or JPEG") from error
    pixels = np.asarray(fitted, dtype=np.uint8).reshape(height, width, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _check_size(place: str, image: Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise SampleError(
            f"{place}: {image.width} x {image.height} pixels, expected at most {max_pixels}; shrink it"
        )


def _part(place: str, image: Image, box: Box) -> Image:
    left, top, right, bottom = (
        max(0, box[0]),
        max(0, box[1]),
        min(image.width, box[2]),
        min(image.height, box[3]),
    )
    if left >= right or top >= bottom:
        raise SampleError(
            f"{place}: nothing in the box {box} of {image.width} x {image.height} pixels; correct the box"
        )
    return image.crop((left, top, right, bottom))


def _flat(image: Any, mode: str) -> Image:
    """Upright, on white where transparent, 8 bits per channel."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits: convert() would clip instead of scale
        return Pillow.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)).convert(mode)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Pillow.alpha_composite(Pillow.new("RGBA", image.size, "white"), image)
    flat: Image = image.convert(mode)
    return flat
