"""Photographs are read as their publishers lay them out, and in one folder per class: the same either way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regrow.cli import main
from regrow.datasets import check, matlab, prepare, split
from regrow.episodes import open_classes, open_source
from regrow.errors import SampleError
from tests.runtime.datasets import layouts, official
from tests.runtime.datasets.layouts import PLANES, Members

SETS: dict[str, Callable[[], Members]] = {
    "mini_imagenet": layouts.mini_imagenet,
    "aircraft": layouts.aircraft,
    "vgg_flower": layouts.vgg_flower,
    "fungi": layouts.fungi,
}


@pytest.mark.parametrize("name", SETS)
def test_parts_are_whole_and_share_no_class(name: str, data: Path) -> None:
    # Of fungi two parts in place of three: a thousand files would be nothing but slow.
    shown = {part: list(c) for part, c in split.load(name).items() if name != "fungi" or part != "train"}
    chosen = sorted(int(c[:4]) for names in shown.values() for c in names) if name == "fungi" else []
    official.unpacked(data / name, layouts.fungi(chosen) if chosen else SETS[name]())
    parts = {part: open_classes(f"{name}:{part}") for part in shown}
    assert {part: source.classes for part, source in parts.items()} == shown
    assert sum(len(p.classes) for p in parts.values()) == len({c for p in parts.values() for c in p.classes})
    shades = {n: (i + (name == "vgg_flower")) % 256 for i, n in enumerate(layouts.names(name))}
    for source in parts.values():
        assert source.sample_shape == (3, 84, 84)
        for i in range(0, source.n_classes, 7):
            x = source.take(i, np.arange(source.samples(i))) * 255
            # Of an aircraft this is the box alone: all around it is white.
            assert np.allclose(x, shades[source.classes[i]]), source.classes[i]


def test_both_lists_are_pooled(data: Path) -> None:
    official.unpacked(data, layouts.fungi(range(40)))
    table = prepare.load("fungi")
    assert table.names["class"] == tuple(layouts.names("fungi")[:40])
    assert np.bincount(table.columns["class"]).tolist() == [2 if i % 10 == 0 else 1 for i in range(40)]


def test_a_folder_per_class_comes_first_and_is_the_same_table(data: Path) -> None:
    members = layouts.mini_imagenet()
    official.unpacked(data, members)
    listed = np.array(prepare.load("mini_imagenet").x)
    pictures = {Path(name).name: content for name, content in members.items() if name.startswith("images/")}
    official.unpacked(data / "mini_imagenet", {f"{name[:9]}/{name}": c for name, c in pictures.items()})
    found = prepare.located("mini_imagenet")
    assert found is not None
    assert found[0].reader.endswith("folders:read")
    assert (prepare.load("mini_imagenet").x == listed).all()


@pytest.mark.parametrize("left", ["fgvc-aircraft-2013b/data/images/1.jpg", "fgvc-aircraft-2013b.tar.gz.part"])
def test_pieces_of_the_official_files_are_no_classes(left: str, data: Path) -> None:
    official.unpacked(data / "aircraft", {left: b""})
    assert prepare.located("aircraft") is None
    with pytest.raises(SampleError, match=r"not found below .*images_box\.txt.*prepare aircraft --download"):
        open_source("aircraft:train")


def _cut(members: Members, name: str) -> None:
    members[name] = members[name][: len(members[name]) // 2].rpartition(b"\n")[0]


def _edit(members: Members, name: str, old: bytes, new: bytes) -> None:
    assert old in members[name]
    members[name] = members[name].replace(old, new, 1)


def _twice(members: Members) -> None:
    _edit(members, f"{PLANES}images_variant_test.txt", b"0000002 ", b"0000000 ")
    del members[f"{PLANES}images/0000002.jpg"]


WRONG: list[tuple[str, Callable[[Members], object], str]] = [
    (
        "aircraft",
        lambda m: m.pop(f"{PLANES}images/0000010.jpg"),
        r"0000010\.jpg: listed and not there \(1 of 1\)",
    ),
    (
        "aircraft",
        lambda m: m.update({f"{PLANES}images/7.jpg": b""}),
        r"images/7\.jpg: in no list .*move it away",
    ),
    ("aircraft", lambda m: _cut(m, f"{PLANES}images_variant_val.txt"), r"in no list \(1 of \d\d\)"),
    (
        "aircraft",
        lambda m: _edit(m, f"{PLANES}images_variant_val.txt", b"0000001 ", b""),
        r"val\.txt:1: found '\d",
    ),
    (
        "aircraft",
        _twice,
        r"0000000\.jpg: listed twice",
    ),
    (
        "aircraft",
        lambda m: _cut(m, f"{PLANES}images_box.txt"),
        r"images_box\.txt: no box of \d{7}, which .*txt lists",
    ),
    (
        "aircraft",
        lambda m: _edit(m, f"{PLANES}images_box.txt", b" 15\n", b"\n"),
        r"box\.txt:1: found .*and a box",
    ),
    (
        "aircraft",
        lambda m: _edit(m, f"{PLANES}images_box.txt", b"5 6", b"31 6"),
        r"0\.jpg: nothing in the box \(30",
    ),
    (
        "mini_imagenet",
        lambda m: _edit(m, "val.csv", b"filename,", b""),
        r"val\.csv:1: found 'label', expected filen",
    ),
    (
        "mini_imagenet",
        lambda m: _edit(m, "val.csv", b".jpg,", b".jpg"),
        r"val\.csv:2: found .*expected NAME,SYNSET",
    ),
    ("mini_imagenet", lambda m: _edit(m, "train.csv", b"\nn", b"\n../n"), r"listed and not there"),
    ("mini_imagenet", lambda m: m.update({"test.csv": b"\xff"}), r"test\.csv: cannot be read"),
    (
        "fungi",
        lambda m: m.update({"val.json": b"{"}),
        r"val\.json: JSONDecodeError: .*COCO's form; get the official",
    ),
    ("fungi", lambda m: m.update({"val.json": b"[]"}), r"val\.json: TypeError"),
    (
        "fungi",
        lambda m: _edit(m, "val.json", b'"category_id": 0}', b'"category_id": 2000}'),
        "KeyError: 2000",
    ),
    (
        "fungi",
        lambda m: _edit(m, "val.json", b'"image_id": 1,', b'"image_id": 21,'),
        r"val\.json: KeyError: 1,",
    ),
    ("fungi", lambda m: m.pop("images/3_fungus/6.JPG"), r"6\.JPG: listed and not there"),
    ("vgg_flower", lambda m: m.pop("jpg/image_00009.jpg"), r"image_00009\.jpg: listed and not there"),
    (
        "vgg_flower",
        lambda m: m.update({"imagelabels.mat": layouts.matlab([103])}),
        r"label 103, expected 1 to 102",
    ),
]


@pytest.mark.parametrize(("name", "spoil", "says"), WRONG)
def test_what_is_wrong_says_where(
    name: str, spoil: Callable[[Members], object], says: str, data: Path
) -> None:
    members = SETS[name]()
    spoil(members)
    official.unpacked(data / name, members)
    with pytest.raises(SampleError, match=says):
        prepare.load(name)


def test_what_a_system_leaves_behind_is_no_picture(data: Path) -> None:
    official.unpacked(data, layouts.vgg_flower() | {"jpg/Thumbs.db": b"", "jpg/._image_00001.jpg": b""})
    assert len(prepare.load("vgg_flower").x) == 204


@pytest.mark.parametrize("name", ["tiered_imagenet", "mini_imagenet"])
def test_pickles_are_never_opened(name: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official.unpacked(data / name, {"train_images_png.pkl": b"cos\nsystem\n(S'exit 1'\ntR."})
    with pytest.raises(
        SampleError, match=r"train_images_png\.pkl: a pickle, which is never opened.*per class"
    ):
        prepare.load(name)
    assert main(["data", "prepare", name]) != 0
    (note,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("note: "))
    assert "never opened" in note


@pytest.mark.parametrize("numbers", [[1], [1, 2], list(range(1, 103)) * 9])
def test_a_row_of_a_matlab_file(numbers: list[int], tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    for content in (layouts.matlab(numbers), layouts.matlab(numbers, "<u2"), layouts.plain(numbers)):
        path.write_bytes(content)
        assert matlab.row(path, "labels").tolist() == numbers


WHOLE = layouts.matlab([1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no header of MATLAB 5"),
        (WHOLE.replace(b"\x00\x01IM", b"\x01\x00MI"), "lowest byte first"),
        (WHOLE[:130], "unpack_from requires"),
        (WHOLE[:-4], r"a part of \d+ bytes, of which \d+ are there"),
        (WHOLE[:-4] + bytes(4), "incorrect data check"),
        (WHOLE[:150] + b"\xff" + WHOLE[151:], "Error -3"),
        (layouts.header() + layouts.array([1] * 5, "<u1")[:-20], r"a part of \d+ bytes, of which"),
        (layouts.header() + b"\x0b\0\0\0\0\0\0\0", "a part of kind 11 in place of an array"),
        (layouts.matlab([0.0] * 200_000, "<f8"), "exceeds 1048576 bytes"),
        (layouts.matlab([1, 2], name="valid"), "an array called 'valid'"),
        (layouts.matlab([1, 2], shape=(2, 1)), "2 numbers of another shape"),
        (layouts.matlab([1, 2], shape=(1, 3)), "2 numbers of another shape"),
        (layouts.plain([1, 2.5]), "not whole"),
        (layouts.plain([1, float("nan")]), "not whole"),
        (layouts.plain([1, 1e300]), "not whole"),
        (layouts.plain([1, 2]).replace(b"\x06\0\0\0\0\0\0\0", b"\x04\0\0\0\0\0\0\0"), "than real numbers"),
        (layouts.plain([1, 2]).replace(b"\x06\0\0\0\0\0\0\0", b"\x06\x08\0\0\0\0\0\0"), "than real numbers"),
    ],
)
def test_a_damaged_matlab_file_is_one_clear_error(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "imagelabels.mat"
    path.write_bytes(content)
    with pytest.raises(
        SampleError, match=rf"imagelabels\.mat: .*{says}.*expected a MATLAB 5 file.*fetch it again"
    ):
        matlab.row(path, "labels")


def test_no_damage_of_a_matlab_file_escapes(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    rng = np.random.default_rng(0)
    for whole in (WHOLE, layouts.plain([1, 2, 3])):
        for _ in range(150):
            damaged = bytearray(whole)
            damaged[rng.integers(124, len(whole))] = rng.integers(256)
            path.write_bytes(damaged[: rng.integers(100, len(whole) + 1)] if rng.integers(2) else damaged)
            try:
                assert matlab.row(path, "labels").dtype == np.int64
            except SampleError:
                continue


def test_check_notices_what_is_gone_or_new_since(data: Path) -> None:
    official.unpacked(data, layouts.mini_imagenet())
    facts = check.check("mini_imagenet")
    assert (facts["samples"], facts["checksums"], facts["test"], facts["lacking"]) == (200, 0, 20, 0)
    gone = next((data / "images").iterdir())
    gone.unlink()
    with pytest.raises(SampleError, match=f"{gone.name}: listed and not there"):
        check.check("mini_imagenet")
    official.unpacked(
        data / "cub" / "CUB_200_2011" / "images" / "002.Laysan_Albatross", {"1.png": layouts.picture(1)}
    )
    assert check.check("cub")["lacking"] == 199
    official.unpacked(
        data / "cub" / "CUB_200_2011" / "images" / "002.Laysan_Albatross", {"2.png": layouts.picture(2)}
    )
    with pytest.raises(
        SampleError, match=r"prepared/cub: prepared from 1 pictures, 2 are there now; remove it"
    ):
        check.check("cub")


def test_check_compares_the_archive_that_still_lies_there(data: Path) -> None:
    official.unpacked(data, layouts.aircraft() | {"fgvc-aircraft-2013b.tar.gz": b"another"})
    with pytest.raises(SampleError, match=r"2013b\.tar\.gz: md5:.*, expected md5:d4acdd33"):
        check.check("aircraft")
