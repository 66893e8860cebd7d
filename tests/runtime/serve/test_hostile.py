"""Bodies that someone made to hurt: damaged at random, or claiming more than they hold. Refused in words."""

import io
import random
import struct
import wave
import zlib
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")
pytest.importorskip("PIL", reason="Pillow is not installed")

from PIL import Image

from regrow.errors import SampleError
from regrow.manifest import InputSpec
from regrow.serve import inputs
from regrow.serve.limits import Limits
from regrow.serve.problems import ProblemError

SIGNAL = InputSpec(shape=(100,), kind="vector")
COLOUR = InputSpec(shape=(3, 8, 8), kind="image")


def recording() -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.arange(200, dtype="<i2").tobytes())
    return stream.getvalue()


def image(form: str, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(stream, form)
    return stream.getvalue()


def array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros((1, 3, 8, 8), np.float32))
    return stream.getvalue()


def damaged(body: bytes, chance: random.Random) -> bytes:
    """Bytes changed, taken out, put in."""
    made = bytearray(body)
    for _ in range(chance.randint(1, 6)):
        at, act = chance.randrange(len(made) + 1), chance.random()
        if act < 0.6 and at < len(made):
            made[at] = chance.choice([0, 127, 128, 255, chance.randrange(256)])
        elif act < 0.8:
            del made[at : at + chance.randint(1, 9)]
        else:
            made[at:at] = chance.randbytes(chance.randint(1, 5))
    return bytes(made)


@pytest.mark.parametrize(
    ("kind", "body", "spec"),
    [
        ("audio/wav", recording(), SIGNAL),
        ("image/png", image("PNG"), COLOUR),
        ("image/png", image("PNG", "P"), COLOUR),
        ("image/jpeg", image("JPEG"), COLOUR),
        (inputs.NPY, array(), COLOUR),
        ("application/json", b'{"x": [1, 2, 3, 1e5, -0.5]}', SIGNAL),
        ("text/csv", b"1,2,3\n4,5,6\n", SIGNAL),
    ],
)
def test_damage_is_refused_or_harmless(kind: str, body: bytes, spec: InputSpec) -> None:
    chance = random.Random(1)
    refused = 0
    for _ in range(500):
        try:
            x = inputs.decode(kind, damaged(body, chance), spec, Limits(), 16000)
        except (SampleError, ProblemError):
            refused += 1
        else:
            assert x.shape[1:] == spec.shape
            assert np.isfinite(x).all()
    assert refused > 100


def npy_header(text: str) -> bytes:
    padded = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode()


def with_text(size: int) -> bytes:
    """A small image with a text in it that unpacks to `size` bytes."""
    body, plain = b"a\0\0" + zlib.compress(b"0" * size, 9), image("PNG")
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    return plain[:33] + chunk + plain[33:]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (inputs.NPY, npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (")),
        (inputs.NPY, npy_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0, {10**30})}}")),
        (inputs.NPY, npy_header(f"{{'descr': 'S0', 'fortran_order': False, 'shape': ({10**12},)}}")),
        (inputs.NPY, npy_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**12},)}}")),
        (inputs.NPY, npy_header("{[]: 1}")),
        ("image/png", with_text(30_000_000)),
        ("application/json", b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        ("application/json", b'{"x": [' + b"9" * 1_000_000 + b"]}"),
        ("application/json", b'{"x": [' + b"1e309," * 99 + b"1]}"),
        ("text/csv", b"1,2\n" * 100_000),
    ],
)
def test_claims_and_bombs_are_refused(kind: str, body: bytes) -> None:
    spec: Any = COLOUR if kind in (inputs.NPY, "image/png") else SIGNAL
    with pytest.raises((SampleError, ProblemError)):
        inputs.decode(kind, body, spec, Limits(), 16000)
