"""What the format tests share: a small valid bundle, and files forged to be wrong in exactly one way."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from regrow import bundle
from regrow.errors import BundleError
from regrow.manifest import InputSpec, Manifest, OutputSpec, Policy, RuleSpec, SelfTest, TensorSpec
from regrow.moves import Adaptable
from regrow.values import Values, rounded

Array = NDArray[Any]
Tiny = tuple[Manifest, dict[str, Array]]

PROGRAM = {
    "inputs": ["x", "w"],
    "outputs": ["logits"],
    "values": {
        "x": [[-1, 2], "float32", "input"],
        "w": [[2, 2], "float32", "adaptable"],
        "logits": [[-1, 2], "float32", "temp"],
    },
    "ops": [["linear", ["x", "w"], ["logits"], {"bias": False}, "model.py:3"]],
}


def make_tiny() -> Tiny:
    """A valid bundle with every encoding in it: dense, bitmask, rice; fp32, fp16 and int8."""
    rng = np.random.default_rng(7)
    tensors: dict[str, Array] = {}
    entries = []
    cases: tuple[tuple[str, Adaptable, float, Values], ...] = (
        ("dense", "all", 1.0, "fp32"),
        ("bits", "none", 0.5, "fp16"),
        ("gaps", "kept", 0.05, "fp32"),
        ("steps", "all", 1.0, "int8"),
        ("rows", "pruned", 0.05, "int8"),
    )
    for name, adaptable, density, values in cases:
        w = rng.standard_normal((16, 25)).astype(np.float32)
        kept = rng.random(w.shape) < density
        w = rounded(np.where(kept, w, np.float32(0)), values)
        entry, parts = bundle.pack_parameter(f"{name}.weight", w, adaptable, kept, values)
        entries.append(entry)
        tensors |= parts
    tensors["meta.lr"] = np.full((3,), 0.1, np.float32)
    tensors["state.m"] = np.zeros((2, 2), np.float32)
    tensors["stat.bn.mean"] = np.arange(4, dtype=np.float32)
    program = json.dumps(PROGRAM).encode()
    programs = bundle.pack_blobs("programs", {"step": program, "predict": program})
    tensors |= {f"program.{name}": blob for name, blob in programs.items()}
    tensors["onnx.predict"] = bundle.pack_blob(b"an onnx graph")
    manifest = Manifest(
        name="tiny",
        task="classification",
        input=InputSpec(shape=(1, 4, 4)),
        output=OutputSpec((5,), labels=("a", "b")),
        parameters=tuple(entries),
        statistics=(TensorSpec("bn.mean", (4,)),),
        state=(TensorSpec("m", (2, 2)),),
        rule=RuleSpec("sgd", "regrow_trainer.rules.sgd:sgd", {"lr": 0.1}, 3, (TensorSpec("lr", (3,)),)),
        policy=Policy("support", 2, 5, 1.0),
        programs={"step": "program.step", "predict": "program.predict"},
        graphs={"predict": "onnx.predict"},
        peak_bytes={"5": 1000, "25": 4000},
        selftest=SelfTest(1, 5, 5, (1.6, 1.2), (0.5, -0.5), 1e-4),
        verification={"gradient_error": 1e-7},
        provenance={"method": "fomaml", "seeds": [1, 2]},
    )
    return manifest, tensors


def resign(data: bytes) -> bytes:
    """The same bytes under a digest that is right for them."""
    return data[:-32] + hashlib.sha256(data[:-32]).digest()


def forge(header: Any, data: bytes = b"") -> bytes:
    """A file with the given header (raw bytes, or an object to which the digest's entry is added)."""
    if isinstance(header, dict):
        entry = {"dtype": "U8", "shape": [32], "data_offsets": [len(data), len(data) + 32]}
        header = json.dumps({"__metadata__": {}, **header, "sha256": header.get("sha256", entry)}).encode()
    header += b" " * (-(8 + len(header)) % 64)
    return resign(len(header).to_bytes(8, "little") + header + data + bytes(32))


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header object and data (digest excluded) of a valid file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length : -32]


@pytest.fixture(scope="session")
def tiny() -> Callable[[], Tiny]:
    return make_tiny


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle on disk; tests must not write to it."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.regrow"
    bundle.write(path, *make_tiny())
    return path


@pytest.fixture(scope="session")
def forger() -> Callable[..., bytes]:
    return forge


@pytest.fixture(scope="session")
def signer() -> Callable[[bytes], bytes]:
    return resign


@pytest.fixture(scope="session")
def splitter() -> Callable[[bytes], tuple[dict[str, Any], bytes]]:
    return split


@pytest.fixture(scope="session")
def edited(tiny_file: Path) -> Callable[[Callable[[dict[str, Any]], object]], bytes]:
    """The tiny bundle with its manifest edited in place by a function, validly signed."""

    def edit(change: Callable[[dict[str, Any]], object]) -> bytes:
        header, data = split(tiny_file.read_bytes())
        manifest = json.loads(header["__metadata__"]["regrow"])
        change(manifest)
        header["__metadata__"]["regrow"] = json.dumps(manifest)
        return forge(header, data)

    return edit


@pytest.fixture(scope="session")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Assert that `bundle.read` refuses some bytes: file, field, found, expected and remedy are all said."""
    path = tmp_path_factory.mktemp("hostile") / "bad.regrow"

    def check(data: bytes, *words: str) -> None:
        path.write_bytes(data)
        with pytest.raises(BundleError) as caught:
            bundle.read(path)
        message = str(caught.value)
        for word in (str(path), "found ", ", expected ", "; ", *words):
            assert word in message, message
        assert "\n" not in message

    return check
