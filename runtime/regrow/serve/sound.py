"""Recordings into samples: PCM from a WAV file, its loudest stretch, at the rate of the model."""

from __future__ import annotations

import io
import math
import struct
import wave
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.errors import SampleError
from regrow.manifest import InputSpec

Array = NDArray[Any]

WAV = "audio/wav"
PLACE = "sample"
# A bundle does not say how fast its signals are sampled; this is what speech models take.
RATE = 16000
# The slowest and the fastest of two rates that are brought together: beyond it somebody is wrong about one.
RATIO = 16
# The share of the band that the low-pass filter leaves alone; the rest is its slope.
FLAT = 0.9
_WIDTHS: dict[int, tuple[str, float, float]] = {1: ("u1", 128.0, 128.0), 2: ("<i2", 0.0, 2.0**15)}
_WIDTHS |= {4: ("<i4", 0.0, 2.0**31)}


def read(body: bytes, spec: InputSpec, rate: int) -> Array:
    """PCM in [-1, 1] at `rate`. A longer recording is cut to its loudest stretch, a shorter one padded."""
    own, sound = _pcm(body)
    if spec.kind == "image" or len(spec.shape) > 2:
        raise SampleError(
            f"{PLACE}: a recording, but this model takes shape {spec.shape}; send images or arrays"
        )
    if not rate <= own * RATIO or not own <= rate * RATIO:
        raise SampleError(
            f"{PLACE}: recorded at {own} Hz, expected {rate} Hz or a rate near it; record it so, or start "
            "the service with the --rate that the model was trained with"
        )
    wanted, length = math.prod(spec.shape[:-1]), spec.shape[-1]
    if wanted == 1:
        sound = sound.mean(0, keepdims=True)
    if len(sound) != wanted:
        raise SampleError(f"{PLACE}: {len(sound)} channels, expected {wanted}; record as many")
    # Cut first: what is resampled is then never longer than a sample, whatever was sent.
    sound = resample(_loudest(sound, math.ceil(length * own / rate)), own, rate)[:, :length]
    return np.pad(sound, ((0, 0), (0, length - sound.shape[1]))).reshape(spec.shape)


def _pcm(body: bytes) -> tuple[int, Array]:
    """Rate and (channels, frames)."""
    try:
        with wave.open(io.BytesIO(body)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            raw = file.readframes(min(file.getnframes(), len(body)))
    except (wave.Error, EOFError, ValueError, ZeroDivisionError, RuntimeError, struct.error) as error:
        raise SampleError(f"{PLACE}: no WAV file ({error}); record PCM of 8, 16 or 32 bits") from error
    if width not in _WIDTHS or not channels or not raw or len(raw) % (width * channels) or not rate:
        raise SampleError(
            f"{PLACE}: {8 * width} bits, {channels} channels, {rate} Hz, {len(raw)} bytes, expected whole "
            "frames of 8, 16 or 32 bits; save it as 16-bit PCM"
        )
    code, zero, scale = _WIDTHS[width]
    values = (np.frombuffer(raw, code).astype(np.float64) - zero) / scale
    return rate, values.reshape(-1, channels).T


def _loudest(sound: Array, length: int) -> Array:
    """The `length` frames with the most energy."""
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
