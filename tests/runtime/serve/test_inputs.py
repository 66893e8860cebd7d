"""Bodies become samples or refusals: images, tables, recordings, arrays, and what pretends to be one."""

import io
import struct
import wave
import zlib
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install 'regrow[serve]'")

from PIL import Image

from regrow.errors import SampleError
from regrow.manifest import InputSpec
from regrow.serve import inputs
from regrow.serve.limits import Limits
from regrow.serve.problems import ProblemError

LIMITS = Limits(batch=4, pixels=10_000)
GREY = InputSpec(shape=(1, 8, 6), kind="image", invert=True)
COLOUR = InputSpec(shape=(3, 8, 6), kind="image")
FLAT = InputSpec(shape=(6,), kind="vector")
WAVES = InputSpec(shape=(2, 5), kind="vector")


def decode(kind: str, body: bytes, spec: InputSpec, rate: int = 8000) -> Any:
    return inputs.decode(kind, body, spec, LIMITS, rate)


def encoded(image: Any, form: str = "PNG", mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image, mode).save(stream, form)
    return stream.getvalue()


def npy(x: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, x)
    return stream.getvalue()


def sound(values: Any, width: int = 2, channels: int = 1, rate: int = 8000) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.asarray(values).tobytes())
    return stream.getvalue()


def test_ink_on_paper_becomes_ones_and_comes_back_as_it_was_drawn() -> None:
    drawn = np.full((8, 6), 255, np.uint8)
    drawn[2:5, 3] = 0
    x = decode("image/png; charset=binary", encoded(drawn), GREY)
    assert (x.shape, x.dtype) == ((1, 1, 8, 6), np.uint8)
    np.testing.assert_array_equal(x[0, 0], 255 - drawn)
    with Image.open(io.BytesIO(inputs.picture(x[0], GREY))) as shown:
        np.testing.assert_array_equal(np.asarray(shown), drawn)
    np.testing.assert_array_equal(inputs.unpack(inputs.pack(x[0])), x[0])


def test_colour_and_photographs() -> None:
    red = np.zeros((80, 60, 3), np.uint8)
    red[..., 0] = 200
    x = decode("image/jpeg", encoded(red, "JPEG"), COLOUR)
    assert x.shape == (1, 3, 8, 6)
    assert x[0, 0].min() > 180
    assert x[0, 1:].max() < 20
    with Image.open(io.BytesIO(inputs.picture(x[0].astype(np.float32) / 255, COLOUR))) as shown:
        assert shown.mode == "RGB"


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 10_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(101, 100), (50_000, 50_000), (2**31 - 1, 1)])
def test_an_image_is_measured_before_it_is_unpacked(size: tuple[int, int]) -> None:
    with pytest.raises(SampleError, match=r"expected at most 10000|cannot be decoded"):
        decode("image/png", bomb(*size), GREY)


@pytest.mark.parametrize("body", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + b"\0" * 40, b"not an image"])
def test_what_is_no_image_is_refused(body: bytes) -> None:
    with pytest.raises(SampleError, match="cannot be decoded"):
        decode("image/png", body, GREY)


def test_arrays_come_with_or_without_a_batch_axis() -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    np.testing.assert_array_equal(decode(inputs.NPY, npy(x), FLAT), x)
    np.testing.assert_array_equal(decode(inputs.NPY, npy(x[0]), FLAT), x[:1])
    with pytest.raises(ProblemError, match="samples in one request: 5, expected at most 4"):
        decode(inputs.NPY, npy(np.zeros((5, 6), np.float32)), FLAT)
    for bad in (npy(np.array([{}])), npy(x)[:-4], b"\x93NUMPY\x01\x00\xff\xff{", npy(np.array(["a"] * 6))):
        with pytest.raises(SampleError):
            decode(inputs.NPY, bad, FLAT)


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c,d,e,f\n1,2,3,4,5,6\n",
        "1;2;3;4;5;6",
        "1\t2\t3\t4\t5\t6\r\n",
        "1\n2\n3\n4\n5\n6\n",
        "\ufeff1,2,3,4,5,6",
    ],
)
def test_tables_of_every_make(text: str) -> None:
    np.testing.assert_array_equal(decode("text/csv", text.encode(), FLAT), [[1, 2, 3, 4, 5, 6]])


def test_a_table_is_samples_in_rows_or_one_sample_over_time() -> None:
    rows = "\n".join(",".join(str(i + j) for j in range(10)) for i in range(3))
    assert decode("text/csv", rows.encode(), WAVES).shape == (3, 2, 5)
    over_time = "left,right\n" + "\n".join(f"{i},{-i}" for i in range(1, 6))
    np.testing.assert_array_equal(
        decode("text/csv", over_time.encode(), WAVES), [[[1, 2, 3, 4, 5], [-1, -2, -3, -4, -5]]]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"1,2,3\n4,5,6\n", "expected rows of 6"),
        (b"1,2\n3\n", "expected all alike"),
        (b"", "expected all alike"),
        (b"1,2,3,4,5,x\n", "'x' is no number"),
        (b"1,2,3,4,5,nan\n", "nan in sample 0"),
        (b"\xff\xfe1,2", "no CSV text"),
        (b'1,2,3,4,5,"' + b"6" * 200_000, "no CSV text"),
    ],
)
def test_tables_that_are_none(text: bytes, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        decode("text/csv", text, FLAT)


def test_recordings_are_scaled_mixed_padded_and_cut_to_their_loudest_stretch() -> None:
    pulse = np.array([0, 0, 16384, -16384, 0, 0, 0, 0, 0], "<i2")
    np.testing.assert_array_equal(decode("audio/wav", sound(pulse), FLAT), [[0, 0, 0.5, -0.5, 0, 0]])
    late = np.array([*[0] * 20, 100, 30000, 100, 0, 0, 0], "<i2")
    assert np.abs(decode("audio/wav", sound(late), FLAT)).max() == pytest.approx(30000 / 2**15)
    np.testing.assert_array_equal(
        decode("audio/wav", sound(np.array([128, 255, 0], "u1"), 1), FLAT), [[0, 127 / 128, -1, 0, 0, 0]]
    )
    both = np.array([[16384, 0], [16384, 0]], "<i2")
    np.testing.assert_array_equal(decode("audio/wav", sound(both, 2, 2), FLAT), [[0.25, 0.25, 0, 0, 0, 0]])
    assert decode("audio/wav", sound(both, 2, 2), WAVES).shape == (1, 2, 5)


@pytest.mark.parametrize("own", [44100, 48000, 16000, 22050, 8000, 11025])
def test_a_recording_is_brought_to_the_rate_of_the_model(own: int) -> None:
    spec, rate = InputSpec(shape=(8000,), kind="vector"), 16000

    def tone(hertz: float, rate: int) -> Any:
        t = np.arange(rate // 2) / rate
        return np.sin(2 * np.pi * hertz * t) * np.sin(2 * np.pi * t) ** 2

    recorded = np.round(tone(440, own) * 30000).astype("<i2")
    (got,) = decode("audio/wav", sound(recorded, rate=own), spec, rate)
    np.testing.assert_allclose(got, tone(440, rate) * 30000 / 2**15, atol=2e-4)
    if own > rate:  # a tone above what the model can hear is silence, not another tone
        high = np.round(tone(rate * 0.62, own) * 30000).astype("<i2")
        (folded,) = decode("audio/wav", sound(high, rate=own), spec, rate)
        assert np.abs(folded).max() < 1e-3


def test_a_recording_of_another_kind_of_rate_is_refused_with_both() -> None:
    for own in (499, 128_001):
        with pytest.raises(SampleError, match=rf"recorded at {own} Hz, expected 8000 Hz or a rate near it"):
            decode("audio/wav", sound(np.ones(99, "<i2"), rate=own), FLAT)
    # However long it is, what is resampled is no longer than a sample.
    long = np.arange(2**20, dtype="<i2")
    assert decode("audio/wav", sound(long, rate=500), FLAT).shape == (1, 6)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"RIFF", "no WAV file"),
        (b"", "no WAV file"),
        (sound(np.zeros(4, "u1"), 1)[:-4], "expected whole frames"),
        (sound(np.zeros(9, "u1"), 3), "expected whole frames"),
    ],
)
def test_recordings_that_are_none(body: bytes, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        decode("audio/wav", body, FLAT)
    with pytest.raises(SampleError, match="1 channels, expected 2"):
        decode("audio/wav", sound(np.ones(9, "<i2")), WAVES)
    with pytest.raises(SampleError, match="a recording, but this model takes shape"):
        decode("audio/wav", sound(np.ones(9, "<i2")), GREY)


def test_blank_means_that_nothing_differs() -> None:
    assert inputs.is_blank(np.full((1, 3, 3), 7))
    assert not inputs.is_blank(np.arange(9))
    assert not inputs.is_blank(np.array([5.0]))  # a single number is a sample like any other
