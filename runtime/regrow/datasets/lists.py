"""Photographs that their publishers' lists name: one function per layout. Opens the lists, no picture."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from regrow.datasets import matlab, split
from regrow.datasets.photos import Paths, Photo, Reader
from regrow.episodes import images
from regrow.errors import SampleError

_AGAIN = "get the official files again"


def _mini_imagenet(paths: Paths) -> list[Photo]:
    """images/NAME, and three lists of file name and synset. The split is ours; here all are one set."""
    folder, photos = paths["images"], []
    for part in split.PARTS:
        rows = _lines(paths[f"{part}.csv"], r"([^,]+),([^,]+)", "NAME,SYNSET", head="filename,label")
        photos += [Photo(folder / name, synset) for name, synset in rows]
    return _whole(folder, photos)


def _vgg_flower(paths: Paths) -> list[Photo]:
    """jpg/image_00001.jpg and so on; the i-th label is the number that a class of the split begins with."""
    names = {int(name[:3]): name for part in split.load("vgg_flower").values() for name in part}
    labels = matlab.row(paths["imagelabels.mat"], "labels").tolist()
    if strange := set(labels) - set(names):
        raise SampleError(
            f"{paths['imagelabels.mat']}: label {min(strange)}, expected 1 to {len(names)}; {_AGAIN}"
        )
    folder = paths["jpg"]
    return _whole(folder, [Photo(folder / f"image_{i:05d}.jpg", names[n]) for i, n in enumerate(labels, 1)])


def _aircraft(paths: Paths) -> list[Photo]:
    """images/1025794.jpg, lists of "1025794 707-320", and one of "1025794 xmin ymin xmax ymax".

    A picture ends in a banner of 20 rows that names the photographer. It is cut to the box around its
    aircraft, as in Meta-Dataset, whose split this is: that leaves the banner out, and other aircraft.
    """
    data = {Path(name).name: path for name, path in paths.items()}
    boxes = {}
    for number, *edges in _lines(data["images_box.txt"], r"(\d+)" + r" (\d+)" * 4, "NUMBER and a box"):
        left, top, right, bottom = map(int, edges)
        boxes[number] = (left - 1, top - 1, right, bottom)  # pixels are counted from 1, the last one inside
    photos = []
    for part in split.PARTS:
        place = data[f"images_variant_{part}.txt"]
        for number, variant in _lines(place, r"(\d+) (\S.*)", "NUMBER VARIANT"):
            if number not in boxes:
                raise SampleError(
                    f"{data['images_box.txt']}: no box of {number}, which {place} lists; {_AGAIN}"
                )
            photos.append(Photo(data["images"] / f"{number}.jpg", variant, boxes[number]))
    return _whole(data["images"], photos)


def _lines(path: Path, pattern: str, form: str, head: str = "") -> Iterator[tuple[str, ...]]:
    for number, line in enumerate(_text(path).splitlines(), 1):
        heading = bool(head) and number == 1
        found = re.fullmatch(head if heading else pattern, line.rstrip())
        if found is None:
            wanted = head if heading else form
            raise SampleError(f"{path}:{number}: found {line[:80]!r}, expected {wanted}; {_AGAIN}")
        if not heading:
            yield found.groups()


def _fungi(paths: Paths) -> list[Photo]:
    """images/CLASS/NAME.jpg, and two lists in COCO's form. Some classes share a name, none a number."""
    folder = paths["images"]
    photos = []
    for path in (paths["train.json"], paths["val.json"]):
        try:
            known = json.loads(_text(path))
            classes = {int(c["id"]): f"{int(c['id']):04d}.{c['name']}" for c in known["categories"]}
            # The names begin with "images", the folder that lies beside the lists.
            files = {i["id"]: folder.parent / i["file_name"] for i in known["images"]}
            labels = {a["image_id"]: classes[a["category_id"]] for a in known["annotations"]}
            photos += [Photo(file, labels[number]) for number, file in files.items()]
            if len(labels) < len(known["annotations"]):
                raise ValueError("an image of two classes")
        except (KeyError, TypeError, ValueError) as error:
            raise SampleError(
                f"{path}: {type(error).__name__}: {error}, expected images, annotations and categories in "
                f"COCO's form; {_AGAIN}"
            ) from error
    return _whole(folder, photos)


mini_imagenet, vgg_flower = Reader(_mini_imagenet), Reader(_vgg_flower)
aircraft, fungi = Reader(_aircraft), Reader(_fungi)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(f"{path}: cannot be read ({error}); {_AGAIN}") from error


def _whole(folder: Path, photos: list[Photo]) -> list[Photo]:
    """The photos, where the folder holds each of them and nothing else, and none is listed twice.

    What no list names is refused, too: the official sets have none, and a list that was cut short has many.
    """
    listed = Counter(photo.file for photo in photos)
    there = {file for file in folder.rglob("*") if file.is_file() and not images.is_litter(file)}
    for wrong, found, remedy in (
        (set(listed) - there, "listed and not there", _AGAIN),
        (there - set(listed), "in no list", f"move it away, or {_AGAIN}"),
        ({file for file, times in listed.items() if times > 1}, "listed twice", _AGAIN),
        (() if listed else {folder}, "nothing is listed", _AGAIN),
    ):
        if wrong:
            raise SampleError(
                f"{min(wrong)}: {found} (1 of {len(wrong)}), expected {len(listed)} pictures, each there and "
                f"listed once; {remedy}"
            )
    return photos
