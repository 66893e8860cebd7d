"""Spoken words: a device that knows twenty words of other people's learns how somebody new says them."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.study import Study

_CEPSTRA, _STRETCH = 13, 5  # how many are kept, and of how many frames the mean is taken


def cepstra(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first cepstral coefficients, averaged over stretches of a tenth of a second: (n, 13 x 10)."""
    count, bands, frames = x.shape
    waves = np.cos(np.pi / bands * np.outer(np.arange(_CEPSTRA), np.arange(bands) + 0.5))
    made = np.einsum("cb,nbt->nct", waves, x).reshape(count, _CEPSTRA, frames // _STRETCH, _STRETCH)
    flat: NDArray[np.float32] = made.mean(3).reshape(count, -1).astype(np.float32)
    return flat


STUDY = Study(
    name="words",
    title="Spoken words",
    question="A device understands twenty words, twelve Mandarin and eight English, from the people it"
    " was trained with. Somebody new speaks to it, through another microphone. What do one to"
    " five takes of each word give?",
    unit="speaker",
    split="34 speakers: 22 train the network, 4 choose every setting, 8 test it once",
    query="other takes of the same speaker",
    protocol="A sample is one take of a word as a log-mel spectrogram of a second: 50 frames of 40 "
    "bands, the bands as channels. Takes of a speaker were recorded in a row with one "
    "microphone and have no finer time stamp, so support is drawn from all twenty: that a "
    "second sitting sounds different is not tested.",
    recipe="study-words",
    features=cepstra,
    features_are="13 cepstral coefficients in ten stretches of time",
    queries=4,
    draws=4,
    plain=("train.lr=3e-3", "train.iterations=1000"),
    retrain=100,
    validation_draws=1,
)
