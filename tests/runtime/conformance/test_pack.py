"""A pack is read as a stranger's: whatever was tampered with is refused by place, found and expected."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow.conformance import arrays, pack
from regrow.errors import BundleError

Edit = Callable[[dict[str, Any]], object]


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(BundleError) as caught:
        pack.read(folder)
    for word in ("found ", ", expected ", "; ", *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def edit(path: Path, change: Edit) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def sign(folder: Path) -> None:
    """Make the index vouch for the descriptions as they are."""

    def change(index: dict[str, Any]) -> None:
        for case in index["cases"]:
            case["sha256"] = hashlib.sha256((folder / case["name"] / pack.ABOUT).read_bytes()).hexdigest()

    edit(folder / pack.INDEX, change)


def test_a_pack_says_what_was_written(original: Path) -> None:
    made = pack.read(original)
    assert [case.name for case in made.cases] == ["linear", "metric"]
    facts = made.cases[0].facts
    assert facts.adapt.inputs == ("x", "y", "active", "steps")
    assert "param:head.weight" in facts.adapt.defaults
    assert {"loss", "new:head.weight", "newstate:velocity"} <= set(facts.adapt.outputs)
    assert facts.predict.outputs == ("logits",)
    support = made.cases[0].arrays(pack.SUPPORT)
    assert set(support) == set(facts.adapt.inputs)
    assert set(made.cases[0].arrays(pack.QUERY)) == set(facts.predict.inputs)


@pytest.mark.parametrize("file", pack.FILES)
def test_one_flipped_bit_anywhere_is_refused(folder: Path, file: str) -> None:
    path = folder / "linear" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused(folder, f"linear/{file}", "SHA-256")


@pytest.mark.parametrize("file", [*pack.FILES, pack.ABOUT])
def test_a_missing_file_is_refused(folder: Path, file: str) -> None:
    (folder / "metric" / file).unlink()
    refused(folder, f"metric/{file}", "no readable file")


def test_a_folder_without_an_index_is_no_pack(tmp_path: Path) -> None:
    refused(tmp_path, "conformance.json")


def test_a_changed_description_is_refused(folder: Path) -> None:
    edit(folder / "linear" / pack.ABOUT, lambda about: about["tolerances"].update(loss=0.5))
    refused(folder, "linear/case.json", "SHA-256")


@pytest.mark.parametrize(
    "name", ["../linear", "/etc", ".", "..", "a/b", "Linear", "linear\n", "-", "", "x" * 65, "linear\x00"]
)
def test_no_name_leads_out_of_the_pack(folder: Path, name: str) -> None:
    edit(folder / pack.INDEX, lambda index: index["cases"][0].update(name=name))
    refused(folder, "cases[0].name")


def test_files_that_a_description_adds_are_nobodys_business(folder: Path) -> None:
    about = folder / "linear" / pack.ABOUT
    edit(about, lambda data: data["files"].update({"../../secret": {"bytes": 1, "sha256": "0" * 64}}))
    sign(folder)
    assert set(pack.read(folder).cases[0].files) == set(pack.FILES)


@pytest.mark.parametrize("file", [pack.EXPECTED, pack.ABOUT])
def test_links_and_pipes_are_refused(folder: Path, file: str) -> None:
    path = folder / "linear" / file
    path.rename(folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")
    refused(folder, f"linear/{file}", "a link or special file")
    path.unlink()
    os.mkfifo(path)
    refused(folder, f"linear/{file}", "a link or special file")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(format_version=2), "format_version: found 2"),
        (lambda d: d.update(name="metric"), "the name of its folder"),
        (lambda d: d.pop("tolerances"), "tolerances"),
        (lambda d: d["tolerances"].update(loss=1.5), "a number between 0 and 1"),
        (lambda d: d["tolerances"].update(loss=0), "a number between 0 and 1"),
        (lambda d: d.update(steps=0), "steps"),
        (lambda d: d.update(ops="linear"), "ops"),
        (lambda d: d["files"].pop("support.npz"), "support.npz"),
        (lambda d: d["files"]["support.npz"].update(bytes=2**40), "from 0 to"),
        (lambda d: d["files"]["support.npz"].update(sha256="../x"), "64 hexadecimal digits"),
        (lambda d: d["adapt"].update(inputs=[1]), "adapt.inputs[0]"),
    ],
)
def test_a_signed_but_wrong_description_is_refused(folder: Path, change: Edit, said: str) -> None:
    edit(folder / "linear" / pack.ABOUT, change)
    sign(folder)
    refused(folder, "linear/case.json", said)


def test_an_index_of_a_newer_regrow_or_with_a_case_twice_is_refused(folder: Path) -> None:
    edit(folder / pack.INDEX, lambda index: index.update(format_version=9))
    refused(folder, "pip install -U regrow")
    edit(folder / pack.INDEX, lambda i: i.update(format_version=1, cases=[i["cases"][0]] * 2))
    refused(folder, "each name once")
    edit(folder / pack.INDEX, lambda index: index.update(cases=[]))
    refused(folder, "one case or more")


def some() -> dict[str, Any]:
    return {
        "x": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a:b.c": np.asarray(1.5),
        "y": np.array([3, -4]),
        "on": np.array([True, False]),
        "none": np.zeros((0, 4)),
    }


def test_arrays_come_back_and_their_bytes_are_always_the_same(tmp_path: Path) -> None:
    data = arrays.pack(some())
    assert arrays.pack(dict(reversed(some().items()))) == data
    for found in (arrays.parse(data, "a.npz"), np.load(io.BytesIO(data), allow_pickle=False)):
        for name, want in some().items():
            assert found[name].dtype == want.dtype
            np.testing.assert_array_equal(found[name], want)


def entry(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    body = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(body).to_bytes(2, "little") + body + data


def header(shape: object, dtype: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}"


def archive(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as made:
        for name, body in entries:
            made.writestr(name, body)
    return stream.getvalue()


HOSTILE = {
    "not a zip": b"PK",
    "empty": b"",
    "compressed": archive(("x.npy", entry(header("(1,)"), bytes(4))), compression=zipfile.ZIP_DEFLATED),
    "another kind of file": archive(("x.txt", b"")),
    "objects": archive(("x.npy", entry(header("(1,)", "'|O'"), b"cos\nsystem\n(S'true'\ntR."))),
    "structured": archive(("x.npy", entry(header("(1,)", "[('a', '<f4')]"), bytes(4)))),
    "huge": archive(("x.npy", entry(header("(1000000000000,)"), bytes(4)))),
    "short": archive(("x.npy", entry(header("(2,)"), bytes(4)))),
    "long": archive(("x.npy", entry(header("(1,)"), bytes(5)))),
    "negative": archive(("x.npy", entry(header("(-1, -1)"), bytes(4)))),
    "rank": archive(("x.npy", entry(header((1,) * 9), bytes(4)))),
    "code": archive(("x.npy", entry("__import__('os').system('true')", bytes(4)))),
    "big endian": archive(("x.npy", entry(header("(1,)", "'>f4'"), bytes(4)))),
    "columns first": archive(("x.npy", entry(header("(1,)", order="True"), bytes(4)))),
    "version": archive(("x.npy", entry(header("(1,)"), bytes(4), b"\x02\x00"))),
    "truth": archive(("x.npy", entry(header("(1,)", "'|b1'"), b"\x07"))),
    "no header": archive(("x.npy", b"\x93NUMPY")),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_arrays_are_refused(kind: str) -> None:
    with pytest.raises(BundleError, match=r"found .*, expected .*; "):
        arrays.parse(HOSTILE[kind], "a.npz")


def test_no_name_twice_and_no_byte_twice() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = archive(
            ("x.npy", entry(header("(1,)"), bytes(4))), ("x.npy", entry(header("(1,)"), bytes(4)))
        )
    with pytest.raises(BundleError, match="each once"):
        arrays.parse(twice, "a.npz")


@pytest.mark.parametrize("seed", range(40))
def test_damaged_archives_are_refused_or_read_but_never_anything_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(arrays.pack(some()))
    for _ in range(int(rng.integers(1, 6))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    try:
        arrays.parse(bytes(data[: int(rng.integers(len(data) // 2, len(data) + 1))]), "a.npz")
    except BundleError:
        return
