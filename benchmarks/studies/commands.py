"""New words again, for a device that was made to be taught words: the remedy for what `digits` shows."""

from dataclasses import replace

from benchmarks.studies.digits import STUDY as DIGITS
from benchmarks.studies.digits import asked

STUDY = replace(
    DIGITS,
    name="commands",
    title="Words it was made to be taught",
    question="Somebody wants ten commands of their own, here the digits, from a device whose network was "
    "meta-trained for that on other people's words: each episode had one speaker and ten of twenty words in "
    "any order, so that no output ever stood for a word and what was learned is to tell words apart. What do "
    "one to five takes of each give?",
    split="22 speakers of the twenty words train the network, 4 choose every setting; five of the six "
    "speakers of the Free Spoken Digit Dataset test it. This study was thought of when the result of the one "
    "before, on the same five, was known",
    protocol="Samples are those of the study before. A network has ten outputs, a plainly trained one the "
    "twenty of its words, of which all may answer. Steps, rates and rules are chosen on words that were "
    "trained with, of speakers that were not: no network hears a digit before the test.",
    recipe="study-commands",
    plain=("data.n_way=20", "data.queries=2", "train.lr=3e-3", "train.iterations=1000"),
    retrain=100,
    validation_draws=1,
    asked=asked(),
    of="",
)
