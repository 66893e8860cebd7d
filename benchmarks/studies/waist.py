"""Activities by a phone at the waist: six of them, by people who are much alike."""

from benchmarks.studies.moves import summary
from benchmarks.studies.study import Study

STUDY = Study(
    name="waist",
    title="Activities by a phone at the waist",
    question="A phone fastened to the waist tells walking, stairs up and down, sitting, standing and "
    "lying apart. It always sits at the same place and people are much alike: is there "
    "anything left to learn from somebody new?",
    unit="person",
    split="30 people: 17 train the network, 4 choose every setting, 9 test it once (the official test users)",
    query="windows of the person's other bouts",
    protocol="A sample is a window of 2.56 seconds of nine channels at 50 Hz. Windows overlap by half "
    "within a bout, a stretch of one activity; support and queries of an activity come from "
    "different bouts, while training, choosing and testing alike, so no reading stands on "
    "both sides.",
    recipe="study-waist",
    features=summary,
    features_are="mean, log spread and log change of each channel",
    queries=6,
    draws=6,
    plain=("train.lr=3e-3", "train.iterations=600"),
    retrain=100,
)
