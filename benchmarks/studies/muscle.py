"""Muscle signals: an armband learns the gestures of a wrist that it has not been on before."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.study import Study


def amplitude(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Per electrode the logarithm of its amplitude, the mean over the repetition."""
    made: NDArray[np.float32] = x.mean(2)
    return made


STUDY = Study(
    name="muscle",
    title="Muscle signals",
    question="Someone puts on an armband that reads the muscles of the forearm, and it should tell their "
    "eight gestures apart. It was trained on other people, whose arms are different, and it never sits "
    "quite where it sat before. How far do one to five repetitions of each gesture take it?",
    unit="person",
    split="41 people: 25 train the network, 6 choose every setting, 10 test it once. A first test of an "
    "earlier choice was stopped as it began, and deleted; nothing was set by what its progress line showed",
    query="repetitions of the other two sessions, for which the armband was put on again",
    protocol="A sample is one repetition of a gesture: two seconds of eight electrodes, "
    "of which the network sees the amplitude in quarters of a second. All of the support comes from one "
    "session, all queries from the person's other sessions, while training, choosing "
    "and testing alike; so no repetition and no placement of the band stands on both sides.",
    recipe="study-muscle",
    features=amplitude,
    features_are="the log amplitude of each electrode, a mean over the repetition",
    queries=8,
    draws=6,
    validation_draws=1,
    retrain=60,
    plain=("train.iterations=600",),
)
