"""Recordings into samples: the loudest stretch of a WAV file, at the rate of the model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.errors import SampleError
from regrow.manifest import InputSpec
from regrow.sound import loudest, pcm, resample

Array = NDArray[Any]

WAV = "audio/wav"
PLACE = "sample"
# A bundle does not say how fast its signals are sampled; this is what speech models take.
RATE = 16000
# The slowest and the fastest of two rates that are brought together: beyond it somebody is wrong about one.
RATIO = 16


def read(body: bytes, spec: InputSpec, rate: int) -> Array:
    """PCM in [-1, 1] at `rate`. A longer recording is cut to its loudest stretch, a shorter one padded."""
    own, sound = pcm(body, PLACE)
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
    sound = resample(loudest(sound, math.ceil(length * own / rate)), own, rate)[:, :length]
    return np.pad(sound, ((0, 0), (0, length - sound.shape[1]))).reshape(spec.shape)
