"""A drifting sensor: a nose of 16 gas sensors, calibrated again months after its training."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.study import Study


def values(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 128 values as they are."""
    return x.reshape(len(x), -1)


STUDY = Study(
    name="drift",
    title="A drifting sensor",
    question="A plant has trained a nose of gas sensors in its first weeks. Months later the sensors have "
    "drifted, and it names the wrong gas. Nobody wants to collect a new training set: what do one to five "
    "fresh samples of each gas give back?",
    unit="batch",
    split="batch 1 trains the network, batch 2 chooses every setting, batches 3, 4, 5, 6, 8 and 9 test it "
    "once (7 and 10 are not in the packed files). A try of four iterations, while the program was "
    "written, asked test batches too; nothing was set by what it said",
    query="other samples of the same batch",
    protocol="Batches were recorded over three years. Samples of a batch have no finer time stamp, so "
    "support is drawn from all of it; five gases, as three batches hold no toluene. All that is "
    "trained on is one batch, so meta-training never meets drift: it can only learn to learn from "
    "few samples.",
    recipe="study-drift",
    features=values,
    features_are="128 values as signed logarithms",
    queries=7,
    draws=20,
    validation_draws=12,
    plain=("train.lr=2e-3", "train.iterations=1000"),
    retrain=300,
)
