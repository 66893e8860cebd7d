"""New words again, for a device that was made to be taught words: the remedy for what `digits` shows."""

from dataclasses import replace

from benchmarks.studies.digits import STUDY as DIGITS
from benchmarks.studies.digits import asked

STUDY = replace(
    DIGITS,
    name="commands",
    title="Words it was made to be taught",
    question="The same five people want the same ten digits as commands. This time the network was "
    "meta-trained for that: each episode had one speaker and ten of the twenty words in any order, so that "
    "no output ever stood for a word and what was learned is to tell words apart. What is that worth?",
    split="22 speakers of the twenty words train the network, 4 choose every setting; five of the six "
    "speakers of the Free Spoken Digit Dataset test it. This study was thought of when the result of the one "
    "before, on the same five, was known",
    protocol="Samples are those of the study before. A network has ten outputs, a plainly trained one the "
    "twenty of its words, of which all may answer. Steps, rates and rules are chosen on words that were "
    "trained with, of speakers that were not: no digit is heard before the test.",
    recipe="study-commands",
    plain=("data.n_way=20", "data.queries=2", "train.lr=3e-3", "train.iterations=1000"),
    retrain=100,
    validation_draws=1,
    asked=asked(),
    of="",
)
