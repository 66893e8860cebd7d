"""Muscle signals: an armband learns the gestures of a wrist that it has not been on before."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.study import Study


def envelope(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Per electrode the logarithms of its mean amplitude and mean change, the classical EMG features."""
    size = np.abs(x - x.mean(2, keepdims=True)).mean(2)
    change = np.abs(np.diff(x, axis=2)).mean(2)
    return np.log(np.concatenate([size, change], 1) + 1e-4).astype(np.float32)


STUDY = Study(
    name="muscle",
    title="Muscle signals",
    question="Someone puts on an armband that reads the muscles of the forearm, and it should tell their "
    "eight gestures apart. It was trained on other people, whose arms are different, and it never sits "
    "quite where it sat before. How far do one to five repetitions of each gesture take it?",
    unit="person",
    split="41 people: 25 train the network, 6 choose every setting, 10 test it once",
    query="repetitions of the other two sessions, for which the armband was put on again",
    protocol="A sample is one repetition of a gesture: two seconds of eight electrodes at 200 Hz. All of the "
    "support comes from one session, all queries from the person's other sessions, while training, choosing "
    "and testing alike; so no repetition and no placement of the band stands on both sides.",
    recipe="study-muscle",
    features=envelope,
    features_are="log amplitude and log change of each electrode",
    queries=8,
    plain=("train.lr=3e-3", "train.iterations=1200"),
)
