"""The container: any dtype and shape comes back bit for bit, from a file any safetensors reader opens."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from regrow import container
from regrow.errors import BundleError

Array = NDArray[Any]
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")
SPECIAL = np.array([0x80000000, 0x00000001, 0x7FC12345, 0xFF800000], np.uint32).view(np.float32)

arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name not in ("sha256", "__metadata__")
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, arrays, max_size=5), st.dictionaries(names, names, max_size=3))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Array], metadata: dict[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.bin"
    digest = container.write(path, tensors, metadata)
    file = container.read(path)
    assert (file.digest, file.metadata, file.path) == (digest, metadata, str(path))
    assert set(file.tensors) == set(tensors)
    for name, array in tensors.items():
        found = file.tensors[name]
        assert (found.shape, found.dtype) == (array.shape, array.dtype)
        assert found.tobytes() == array.tobytes()


def test_layout_is_aligned_ordered_by_item_size_and_signed(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    tensors: dict[str, Array] = {
        "bytes": np.arange(3, dtype=np.uint8),
        "half": np.ones(3, np.float16),
        "b": np.ones(1, np.float32),
        "a": np.ones(2, np.float32),
        "wide": np.ones((), np.int64),
    }
    digest = container.write(path, tensors, {})
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    assert start % 64 == 0
    assert list(header) == ["__metadata__", "wide", "b", "a", "half", "bytes", "sha256"]
    assert data[-32:] == hashlib.sha256(data[:-32]).digest() == bytes.fromhex(digest)
    for array in container.read(path).tensors.values():
        assert array.flags.aligned


def test_views_are_read_only_and_outlive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    container.write(path, {"w": SPECIAL}, {})
    w = container.read(path).tensors["w"]
    # Writers replace files, so what is open stays what it was.
    container.write(path, {"w": np.zeros(4, np.float32)}, {})
    assert w.tobytes() == SPECIAL.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        w[0] = 1


def test_any_memory_order_is_stored_in_c_order(tmp_path: Path) -> None:
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    container.write(tmp_path / "a", {"t": a.T, "s": a[:, ::2], "big": a.astype(">f4")}, {})
    tensors = container.read(tmp_path / "a").tensors
    np.testing.assert_array_equal(tensors["t"], a.T)
    np.testing.assert_array_equal(tensors["s"], a[:, ::2])
    np.testing.assert_array_equal(tensors["big"], a)


def test_the_same_content_gives_the_same_file(tmp_path: Path) -> None:
    digests = {container.write(tmp_path / n, {"w": SPECIAL}, {"k": "ü"}) for n in "ab"}
    assert len(digests) == 1
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_safetensors_reads_it(tmp_path: Path, tiny_file: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(tiny_file, "numpy") as file:
        ours = container.read(tiny_file)
        assert set(file.keys()) == {*ours.tensors, "sha256"}
        assert file.metadata() == ours.metadata
        for name, array in ours.tensors.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)


@pytest.mark.parametrize(
    ("tensors", "metadata", "word"),
    [
        ({"sha256": np.zeros(1, np.uint8)}, {}, "a reserved name"),
        ({"__metadata__": np.zeros(1, np.uint8)}, {}, "a reserved name"),
        ({"": np.zeros(1, np.uint8)}, {}, "a non-empty string"),
        ({"w": np.zeros(1)}, {}, "float64"),
        ({"w": np.array(["a"])}, {}, "expected one of"),
        ({"w": np.array([None])}, {}, "object"),
        ({}, {"k": 1}, "a string"),
        ({}, {"k": "x" * container.MAX_HEADER}, "at most 16777216"),
    ],
)
def test_writer_refuses_what_a_reader_would(
    tmp_path: Path, tensors: dict[str, Array], metadata: dict[str, Any], word: str
) -> None:
    with pytest.raises(BundleError, match=word):
        container.write(tmp_path / "a", tensors, metadata)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("below", ["missing", "dir", "file/x", "nul\0"])
def test_what_is_no_file_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match="check the path"):
        container.read(tmp_path / below)


def test_header_length_must_leave_data_aligned(tmp_path: Path) -> None:
    path = tmp_path / "a"
    container.write(path, {"w": SPECIAL}, {})
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little") + 1
    path.write_bytes(length.to_bytes(8, "little") + data[8 : 8 + length - 1] + b" " + data[8 + length - 1 :])
    with pytest.raises(BundleError, match="a multiple of 64"):
        container.read(path)
