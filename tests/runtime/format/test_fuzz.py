"""Random damage. Whatever the bytes are, opening them gives a bundle or one BundleError, nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow import bundle, container
from regrow.errors import BundleError

Forge = Callable[..., bytes]
Split = Callable[[bytes], tuple[dict[str, Any], bytes]]


@pytest.fixture(scope="module")
def good(tiny_file: Path) -> bytes:
    return tiny_file.read_bytes()


def header_end(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def verdict(path: Path) -> str:
    """What is wrong with a file, "" where all of it can be used; only BundleErrors count as a verdict."""
    try:
        made = bundle.read(path)
        made.program("predict")
        made.graph("predict")
    except BundleError as error:
        return str(error)
    return ""


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_one_mutated_header_byte(
    good: bytes,
    signer: Callable[[bytes], bytes],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    """Signed anew, so that the digest does not shield the parser: refused, or a bundle like any other."""
    i = data.draw(st.integers(0, header_end(good) - 1), label="place")
    byte = data.draw(st.integers(0, 255), label="byte")
    bad = good[:i] + bytes([byte]) + good[i + 1 :]
    path = tmp_path_factory.getbasetemp() / "mutated.regrow"
    path.write_bytes(signer(bad))
    message = verdict(path)
    assert "\n" not in message
    assert message == "" or str(path) in message
    path.write_bytes(bad)
    if bad == good:
        assert bundle.read(path).digest == good[-32:].hex()
    else:
        with pytest.raises(BundleError):
            bundle.read(path)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_one_mutated_data_byte(
    good: bytes,
    signer: Callable[[bytes], bytes],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    i = data.draw(st.integers(header_end(good), len(good) - 33), label="place")
    byte = data.draw(st.integers(0, 255), label="byte")
    path = tmp_path_factory.getbasetemp() / "mutated.regrow"
    path.write_bytes(signer(good[:i] + bytes([byte]) + good[i + 1 :]))
    message = verdict(path)
    assert message == "" or str(path) in message


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.regrow"
    for content in (data, (56).to_bytes(8, "little") + b"{" + data):
        path.write_bytes(content)
        with pytest.raises(BundleError):
            bundle.read(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_any_value_in_a_tensor_entry(
    good: bytes, forger: Forge, splitter: Split, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    header, body = splitter(good)
    name = data.draw(st.sampled_from(sorted(header)))
    if name != "__metadata__" and data.draw(st.booleans()):
        header[name][data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))] = data.draw(json_values)
    else:
        header[name] = data.draw(json_values)
    text = json.dumps(header).encode()
    path = tmp_path_factory.getbasetemp() / "entry.regrow"
    path.write_bytes(forger(text, body))
    try:
        file = container.read(path)
    except BundleError:
        return
    assert all(isinstance(array, np.ndarray) for array in file.tensors.values())
