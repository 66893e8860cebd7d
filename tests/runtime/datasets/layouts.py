"""Small stand-ins of photographs as their publishers lay them out. Every class has a shade of its own."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from regrow.datasets import split

Members = dict[str, bytes]
PLANES = "fgvc-aircraft-2013b/data/"


@cache
def picture(shade: int, banner: bool = False) -> bytes:
    """One shade; with a banner, white everywhere but in a box of 20 x 10 pixels."""
    image = pytest.importorskip("PIL.Image")
    pixels = np.full((40, 30, 3), 255 if banner else shade, np.uint8)
    pixels[5:15, 4:24] = shade
    stream = io.BytesIO()
    image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def names(dataset: str) -> list[str]:
    """The classes of all parts, in the order of the alphabet."""
    return sorted(name for part in split.load(dataset).values() for name in part)


def mini_imagenet(each: int = 2) -> Members:
    made, lists = {}, {}
    shades = {name: i for i, name in enumerate(names("mini_imagenet"))}
    for part, synsets in split.load("mini_imagenet").items():
        rows = [f"{synset}{i:08d}.jpg,{synset}" for synset in synsets for i in range(each)]
        lists[f"{part}.csv"] = "\n".join(["filename,label", *rows, ""]).encode()
        made |= {f"images/{row.partition(',')[0]}": picture(shades[row.partition(",")[2]]) for row in rows}
    return made | lists


def aircraft() -> Members:
    """Each variant once in every list."""
    made, boxes = {}, []
    for nth, part in enumerate(split.PARTS):
        rows = [(f"{10 * i + nth:07d}", i, name) for i, name in enumerate(names("aircraft"))]
        made |= {f"{PLANES}images/{number}.jpg": picture(i, banner=True) for number, i, _ in rows}
        lines = "".join(f"{number} {name}\n" for number, _, name in rows)
        made[f"{PLANES}images_variant_{part}.txt"] = lines.encode()
        boxes += [f"{number} 5 6 24 15\n" for number, _, _ in rows]
    return made | {f"{PLANES}images_box.txt": "".join(boxes).encode(), "fgvc-aircraft-2013b/README.md": b""}


def vgg_flower(mat: Callable[[Sequence[int]], bytes] | None = None) -> Members:
    """Two pictures of each class, one after the other."""
    labels = [1 + i % 102 for i in range(204)]
    made = {f"jpg/image_{i:05d}.jpg": picture(label) for i, label in enumerate(labels, 1)}
    return made | {"imagelabels.mat": (mat or matlab)(labels)}


def fungi(chosen: Iterable[int] = range(30)) -> Members:
    """One picture of the chosen classes in the first list, of every tenth in the second."""
    made, every = {}, names("fungi")
    for nth, part in enumerate(("train", "val")):
        found = [
            (2 * i + nth, i, f"images/{i % 7}_fungus/{2 * i + nth}.JPG") for i in list(chosen)[:: 1 + 9 * nth]
        ]
        made |= {path: picture(i % 256) for _, i, path in found}
        known = {
            "images": [{"id": number, "file_name": path} for number, _, path in found],
            "annotations": [{"id": n, "image_id": n, "category_id": i} for n, i, _ in found],
            "categories": [{"id": i, "name": name[5:]} for i, name in enumerate(every)],
        }
        made[f"{part}.json"] = json.dumps(known).encode()
    return made


def matlab(
    values: Sequence[float], stored: str = "<u1", name: str = "labels", shape: tuple[int, int] | None = None
) -> bytes:
    """A MATLAB 5 file with one compressed row."""
    return header() + _part(15, zlib.compress(array(values, stored, name, shape)), pad=False)


def plain(values: Sequence[float], stored: str = "<f8") -> bytes:
    """The same, not compressed."""
    return header() + array(values, stored)


def header() -> bytes:
    return b"MATLAB 5.0 MAT-file, Platform: GLNX86".ljust(124) + b"\x00\x01IM"


def array(
    values: Sequence[float], stored: str, name: str = "labels", shape: tuple[int, int] | None = None
) -> bytes:
    numbers: NDArray[np.generic] = np.array(values, stored)
    kind, known = {"<u1": (2, 9), "<u2": (4, 11), "<f8": (9, 6)}[stored]
    sizes = struct.pack("<2i", *(shape or (1, len(numbers))))
    parts = ((6, struct.pack("<2I", known, 0)), (5, sizes), (1, name.encode()), (kind, numbers.tobytes()))
    return _part(14, b"".join(_part(k, content) for k, content in parts))


def _part(kind: int, content: bytes, *, pad: bool = True) -> bytes:
    if 0 < len(content) <= 4:  # short ones stand in the tag
        return struct.pack("<2H", kind, len(content)) + content.ljust(4, b"\0")
    return struct.pack("<2I", kind, len(content)) + content + bytes(-len(content) % 8 if pad else 0)
