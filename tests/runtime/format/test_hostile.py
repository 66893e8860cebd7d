"""Hostile files. Whatever is wrong with the bytes, opening them is one BundleError and nothing else."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regrow import bundle
from regrow.errors import BundleError

Forge = Callable[..., bytes]
Refused = Callable[..., None]
Split = Callable[[bytes], tuple[dict[str, Any], bytes]]


@pytest.fixture(scope="module")
def good(tiny_file: Path) -> bytes:
    return tiny_file.read_bytes()


def header_end(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def test_truncated_at_every_interesting_length(good: bytes, splitter: Split, refused: Refused) -> None:
    start = header_end(good)
    offsets = {end for entry in splitter(good)[0].values() for end in entry.get("data_offsets", ())}
    cuts = {0, 1, 7, 8, 9, 63, 64, 95, 96, start - 1, start, start + 1, len(good) - 33, len(good) - 32}
    cuts |= {start + end for end in offsets} | {start + end - 1 for end in offsets}
    for cut in sorted(cuts - {len(good)}):
        refused(good[:cut])


@pytest.mark.parametrize("size", [0, 1, 95])
def test_too_short_to_be_any_file_of_ours(size: int, refused: Refused) -> None:
    refused(bytes(size), f"found {size} bytes, expected at least 96")


def test_padded_or_doubled(good: bytes, signer: Callable[[bytes], bytes], refused: Refused) -> None:
    refused(good + b"\0", "data")
    refused(good + good, "data")
    refused(signer(good + bytes(32)), "data")


def test_one_flipped_bit_anywhere(good: bytes, refused: Refused) -> None:
    start = header_end(good)
    places = [
        *range(0, start, 31),
        *range(8),
        *range(start, len(good), 13),
        *range(len(good) - 32, len(good)),
    ]
    for i in places:
        refused(good[:i] + bytes([good[i] ^ (1 << (i % 8))]) + good[i + 1 :])


def test_wrong_hash_says_both(good: bytes, refused: Refused) -> None:
    refused(
        good[:-32] + bytes(range(32)), "sha256", bytes(range(32)).hex(), good[-32:].hex(), "copy it again"
    )


def test_newer_version_is_refused_by_name(edited: Callable[..., bytes], refused: Refused) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest.clear()  # of a newer format nothing else is known
        manifest["format_version"] = 3

    refused(edited(change), "manifest.format_version", "found 3", "at most 2", "pip install -U regrow")


@pytest.mark.parametrize("length", [2**24 + 1, 2**63, 2**64 - 1])
def test_huge_header(length: int, refused: Refused) -> None:
    refused(length.to_bytes(8, "little") + bytes(200), "header", f"{length} bytes", "at most 16777216")


def test_header_longer_than_the_file(refused: Refused) -> None:
    refused((1016).to_bytes(8, "little") + bytes(200), "1016 bytes in a file of 208")


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (b"", "found b'        ', expected a JSON object"),
        (b" {}", "a JSON object at byte 8"),
        (b"[]", "a JSON object"),
        (b"{", "no strict JSON"),
        (b"{}x", "no strict JSON"),
        (b"{'a':1}", "no strict JSON"),
        (b'{"a":\xff}', "no strict JSON ('utf-8'"),
        (b'{"a":"\xed\xa0\x80"}', "no strict JSON ('utf-8'"),
        (b'{"a":1,"a":2}', "duplicate key 'a'"),
        (b'{"__metadata__":{"k":"1","k":"2"}}', "duplicate key 'k'"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b'{"a":1e999}', "1e999 overflows"),
        (b'{"a":' + b"9" * 5000 + b"}", "99999999999999999999... overflows"),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "no strict JSON"),
        (b'{"a":"\n"}', "no strict JSON"),
        (b"{}", "__metadata__: found nothing"),
        (b'{"__metadata__":[]}', "__metadata__: found []"),
        (b'{"__metadata__":{"k":1}}', "__metadata__.k: found 1, expected a string"),
        (b'{"__metadata__":{}}', "data: found 32 bytes, expected 0"),
        (
            b'{"__metadata__":{},"t":{"dtype":"U8","shape":[32],"data_offsets":[0,32]}}',
            "no digest at the end",
        ),
        (b'{"__metadata__":{},"\\ud800":{}}', "tensor name: found '\\ud800'"),
        (b'{"__metadata__":{},"":{}}', "tensor name"),
    ],
)
def test_header_that_is_no_strict_json(header: bytes, word: str, forger: Forge, refused: Refused) -> None:
    refused(forger(header), word)


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("tensor", "word"),
    [
        (None, "t: found None, expected an object"),
        ({}, "t.dtype: found nothing"),
        ({"dtype": "F32"}, "t.shape: found nothing"),
        ({"dtype": "F32", "shape": [2]}, "t.data_offsets: found nothing"),
        (entry(dtype="F64"), "t.dtype: found 'F64', expected one of"),
        (entry(dtype=4), "t.dtype: found 4"),
        (entry(shape=8), "t.shape: found 8, expected a list"),
        (entry(shape="2"), "t.shape: found '2'"),
        (entry(shape=[2.0]), "t.shape[0]: found 2.0"),
        (entry(shape=[True, 2]), "t.shape[0]: found True"),
        (entry(shape=[-2, -1]), "t.shape[0]: found -2"),
        (entry(shape=[1] * 8 + [2]), "t.shape: found a list of 9"),
        (entry(shape=[2**62, 4]), "t.shape[0]"),
        (entry(shape=[2**32, 2**32]), "t.shape"),
        (entry(shape=[0, 2**50, 2**50], offsets=[0, 0]), "t.shape"),
        (entry(shape=[2**40]), "t.data_offsets: found 8 bytes"),
        (entry(shape=[3]), "t.data_offsets: found 8 bytes, expected 12"),
        (entry(offsets=[0]), "t.data_offsets: found [0]"),
        (entry(offsets=[0, 8, 8]), "t.data_offsets: found [0, 8, 8]"),
        (entry(offsets=[8, 0]), "begin <= end"),
        (entry(offsets=[-8, 0]), "t.data_offsets[0]: found -8"),
        (entry(offsets=[0, 2**64]), "t.data_offsets[1]: found 18446744073709551616"),
        (entry(offsets=[2**53 - 8, 2**53]), "a hole"),
        (entry(offsets=[0, 8.0]), "t.data_offsets[1]: found 8.0"),
        (entry(offsets=["0", "8"]), "t.data_offsets[0]: found '0'"),
        (entry(offsets=None), "t.data_offsets: found None"),
        (entry(offsets=[8, 16]), "t.data_offsets: found a hole (8), expected a begin of 0"),
        (entry("U8", [8], [1, 9]), "found a hole (1)"),
        (entry("F32", [2], [1, 9]), "a begin divisible by 4"),
        (entry("BOOL", [8], [0, 8]), "t: found byte 7, expected bools"),
    ],
)
def test_wrong_tensor_entries(tensor: Any, word: str, forger: Forge, refused: Refused) -> None:
    refused(forger({"t": tensor}, bytes([0, 1, 7, 0, 0, 0, 0, 0])), word)


def test_overlaps_and_holes(forger: Forge, refused: Refused) -> None:
    data = bytes(16)
    a = entry("U8", [8], [0, 8])
    refused(forger({"a": a, "b": entry("U8", [8], [4, 12])}, data), "b.data_offsets: found an overlap (4)")
    refused(forger({"a": a, "b": a}, data), "an overlap (0), expected a begin of 8")
    refused(forger({"a": a, "b": entry("U8", [4], [12, 16])}, data), "a hole (12)")
    refused(
        forger({"a": entry("U8", [16], [0, 16]), "b": entry("U8", [32], [16, 48])}, data), "an overlap (16)"
    )
    refused(forger({"a": entry("U8", [17], [0, 17])}, data), "an overlap (16), expected a begin of 17")


@pytest.mark.parametrize(
    "digest",
    [
        {"dtype": "U8", "shape": [31], "data_offsets": [0, 31]},
        {"dtype": "I8", "shape": [32], "data_offsets": [0, 32]},
        {"dtype": "U8", "shape": [4, 8], "data_offsets": [0, 32]},
    ],
)
def test_digest_of_another_form(digest: dict[str, Any], forger: Forge, refused: Refused) -> None:
    data = forger({"sha256": digest})
    refused(data[: header_end(data) + digest["data_offsets"][1]], "no digest at the end")


def test_digest_that_is_not_last(forger: Forge, refused: Refused) -> None:
    first = {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}
    last = {"dtype": "U8", "shape": [32], "data_offsets": [32, 64]}
    refused(forger({"sha256": first, "t": last}, bytes(32)), "no digest at the end")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "manifest: found no strict JSON"),
        ("[]", "manifest: found [], expected an object"),
        ('{"format_version":1,"format_version":1}', "duplicate key 'format_version'"),
        ('{"format_version":NaN}', "NaN is not JSON"),
        ("\ud800", "manifest: found no strict JSON"),
        ("{}", "manifest.format_version: found nothing"),
    ],
)
def test_manifest_that_is_no_json(text: str, word: str, forger: Forge, refused: Refused) -> None:
    refused(forger({"__metadata__": {"regrow": text}}), word)


def test_gaps_that_unfold_to_terabytes(edited: Callable[..., bytes], refused: Refused) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["parameters"][2]["shape"] = [2**20, 2**20]

    refused(edited(change), "parameters[2].shape", "268435456")


def test_hostile_names_stay_on_one_short_line(forger: Forge, refused: Refused) -> None:
    refused(forger({"a\x1b[2J\n" + "b" * 10_000: {}}), "'a\\x1b[2J\\nbbb")
    refused(forger({"t": {"dtype": "x" * 10_000}}), "xxx...")


def test_links_and_pipes(tmp_path: Path, good: bytes) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleError, match="found no regular file"):
        bundle.read(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(BundleError, match="loop: found"):
        bundle.read(tmp_path / "loop")
    (tmp_path / "target").write_bytes(good)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert bundle.read(tmp_path / "link").manifest.name == "tiny"
