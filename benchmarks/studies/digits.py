"""New words: a device that knows twenty words of other people's is taught ten that are none of them."""

from typing import Any

from benchmarks.studies.study import Study
from benchmarks.studies.words import cepstra

TRIED = "jackson"  # whom a quick pass may see


def asked(**more: Any) -> dict[str, dict[str, Any]]:
    """The speakers of the digits, whoever they are asked by."""
    layout = {"layout": "signal"}
    return {
        "test": {"test": "fsdd:", "args": {**layout, "without": [TRIED]}, **more},
        "validation": {"validation": "fsdd:", "args": {**layout, "only": [TRIED]}, **more},
    }


STUDY = Study(
    name="digits",
    title="Words it was not made for",
    question="The device of the study of spoken words is in the field, and somebody wants ten commands of "
    "their own: the digits, in English. Nobody trains anything anew: the bundles are those of that study, "
    "byte for byte, and the ten words take the place of ten it knew. What do one to five takes of each give?",
    unit="speaker",
    split="five of the six speakers of the Free Spoken Digit Dataset, whose recordings nobody trained with; "
    "the sixth is left for trying the program. How many decibels a picture keeps was first settled on the "
    "class means of all six; those of the sixth alone settle it the same",
    query="other takes of the same speaker",
    protocol="A sample is one take as a log-mel spectrogram of a second, but of other people, other "
    "microphones and another range of loudness than what was trained with, of which three in five words were "
    "Mandarin; only the support set's statistics make up for that. Steps and rates are as "
    "shipped. All twenty outputs may answer, and an answer is right if it is the digit's. Before adapting "
    "they stand for other words, so that what is right then is right by accident.",
    recipe="study-words",
    features=cepstra,
    features_are="13 cepstral coefficients in ten stretches of time",
    queries=10,
    draws=6,
    fresh=True,
    asked=asked(n_way=10),
    of="words",
)
