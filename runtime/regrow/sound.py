"""Recordings as arrays: PCM from WAV files, other rates, the loudest stretch, log-mel. numpy only."""

from __future__ import annotations

import io
import math
import struct
import wave
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.errors import SampleError

Array = NDArray[Any]

# The share of the band that the low-pass filter leaves alone; the rest is its slope.
FLAT = 0.9
_WIDTHS: dict[int, tuple[str, float, float]] = {1: ("u1", 128.0, 128.0), 2: ("<i2", 0.0, 2.0**15)}
_WIDTHS |= {4: ("<i4", 0.0, 2.0**31)}

HOP, WINDOW = 0.020, 0.032  # seconds from one frame of a log-mel picture to the next, and under one frame
RANGE = 40.0  # decibels below the loudest value; what is softer is room and recorder rather than speech
_LOWEST = 60.0  # Hz: hum of the mains and of handling lies below


def pcm(body: bytes, place: str) -> tuple[int, Array]:
    """Rate and samples (channels, frames) in [-1, 1] of a WAV file; `place` names it in errors."""
    try:
        with wave.open(io.BytesIO(body)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            raw = file.readframes(min(file.getnframes(), len(body)))
    except (wave.Error, EOFError, ValueError, ZeroDivisionError, RuntimeError, struct.error) as error:
        raise SampleError(f"{place}: no WAV file ({error}); record PCM of 8, 16 or 32 bits") from error
    if width not in _WIDTHS or not channels or not raw or len(raw) % (width * channels) or not rate:
        raise SampleError(
            f"{place}: {8 * width} bits, {channels} channels, {rate} Hz, {len(raw)} bytes, expected whole "
            "frames of 8, 16 or 32 bits; save it as 16-bit PCM"
        )
    code, zero, scale = _WIDTHS[width]
    values = (np.frombuffer(raw, code).astype(np.float64) - zero) / scale
    return rate, values.reshape(-1, channels).T


def loudest(sound: Array, length: int) -> Array:
    """The `length` frames with the most energy of (channels, frames); all of them where there are fewer."""
    if sound.shape[1] <= length:
        return sound
    energy = np.concatenate([[0.0], np.cumsum((sound**2).sum(0))])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return sound[:, start : start + length]


def resample(sound: Array, own: int, rate: int) -> Array:
    """(channels, frames) from one rate to another, through the spectrum; nothing folds into lower tones."""
    if own == rate:
        return sound
    common = math.gcd(own, rate)
    up, down = rate // common, own // common
    count = sound.shape[1]
    # Silence after the end: the spectrum takes the end for the neighbour of the beginning.
    blocks = -(-count // down) + 1
    spectrum = np.fft.rfft(sound, blocks * down)
    bins = blocks * min(up, down) // 2 + 1
    place = np.clip((np.arange(bins) / bins - FLAT) / (1 - FLAT), 0.0, 1.0)
    kept = spectrum[:, :bins] * (0.5 + 0.5 * np.cos(np.pi * place))
    made = np.fft.irfft(kept, blocks * up) * (up / down)
    return made[:, : math.ceil(count * rate / own)]


def log_mel(sound: Array, rate: int, frames: int, bands: int) -> Array:
    """(samples,) -> (frames, bands): decibels below the loudest value, so from 0 down to -RANGE.

    How loud somebody spoke is left out. A longer sound is cut to its loudest stretch, a shorter one stands
    in the middle of silence.
    """
    hop, width = round(HOP * rate), round(WINDOW * rate)
    length = (frames - 1) * hop + width
    sound = loudest(sound[None], length)[0]
    before = (length - len(sound)) // 2
    whole = np.pad(sound.astype(np.float64), (before, length - len(sound) - before))
    pieces = np.lib.stride_tricks.sliding_window_view(whole, width)[::hop]  # (frames, width)
    # Twice the next power of two: the lowest bands are narrower than a bin of the window's own spectrum.
    size = 2 ** (math.ceil(math.log2(width)) + 1)
    power = np.abs(np.fft.rfft(pieces * np.hanning(width + 1)[:-1], size)) ** 2
    energy = power @ _triangles(size, rate, bands).T
    level = 10 * np.log10(np.maximum(energy, np.finfo(np.float64).tiny))
    # Digital silence has no loudest value: all of it is as soft as can be.
    top = level.max() if energy.any() else np.inf
    picture: Array = np.maximum(level - top, -RANGE)
    return picture


def _triangles(size: int, rate: int, bands: int) -> Array:
    """(bands, size // 2 + 1): overlapping triangles, evenly spaced on the mel scale (O'Shaughnessy's)."""

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    edges = 700 * (10 ** (np.linspace(mel(_LOWEST), mel(rate / 2), bands + 2) / 2595) - 1)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(size // 2 + 1) * (rate / size)
    return np.maximum(0.0, np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)))
