"""Activities by phone and by watch: a new pocket, a new wrist, somebody else's way to rise from a chair."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.study import Study


def summary(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Per channel the mean, and the logarithms of spread and mean change: classical activity features."""
    spread = np.log(x.std(2) + 1e-3)
    change = np.log(np.abs(np.diff(x, axis=2)).mean(2) + 1e-3)
    return np.concatenate([x.mean(2), spread, change], 1).astype(np.float32)


STUDY = Study(
    name="moves",
    title="Activities by phone and by watch",
    question="A phone in the pocket or a watch on the wrist should tell sitting, standing up, walking,"
    " turning and sitting down apart: the parts of a test of how well somebody walks. One "
    "network serves both devices. What does one round with somebody new give?",
    unit="device of a person",
    split="23 people with two devices each: 13 train the network, 4 choose every setting, 6 test it once",
    query="windows of the person's other rounds with the same device",
    protocol="A sample is a second of three accelerations and three turning rates at about 100 Hz, "
    "labelled by what fills at least half of it; windows overlap. All windows of an activity "
    "that are support come from as few rounds as can be, all queries of it from other rounds,"
    " while training, choosing and testing alike. A person carries the phone as they like: "
    "upright or not, screen in or out. The others, whom adapting to one may cost something, "
    "include the other device of the same person.",
    recipe="study-moves",
    features=summary,
    features_are="mean, log spread and log change of each channel",
    queries=6,
    draws=6,
    plain=("train.lr=3e-3", "train.iterations=900"),
    retrain=100,
    of_people=True,
)
