"""What papers lead one to expect of the methods, and what has to be equal for a comparison to be theirs."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple


class Contender(NamedTuple):
    """A recipe, what of it is set otherwise, and over how many seeds at most it is trained."""

    recipe: str
    settings: Mapping[str, Any] = {}
    seeds: int = 9


class Expected(NamedTuple):
    """`better` against `worse`, both scored after `steps`, else after as many as each trains with."""

    better: str
    worse: str
    source: str
    relation: Literal["above", "as good as"] = "above"
    steps: int | None = None
    note: str = ""  # what differs from the published comparison, or what was tried where it does not hold


# Beside every recipe as it is: the same adaptable set and number of steps as whom it is compared with.
CONTENDERS: dict[str, dict[str, Contender]] = {
    "sine": {
        "maml, 1 step": Contender("sine-maml", {"learner.steps": 1}),
        "cavia, 1 step": Contender("sine-cavia", {"learner.steps": 1, "rule.args.lr": 1.0}),
        "meta-sgd, 1 step": Contender("sine-meta-sgd", {"learner.steps": 1}),
    },
    "glyphs": {
        # The other steps count for as large a part of the shorter training as in the recipe.
        "mamlpp": Contender("glyphs-5w1s-mamlpp", {"train.multi_step": 200}),
        "maml, all": Contender("glyphs-5w1s-maml", {"learner.adaptable": "['*']"}),
        "maml, all, 5 steps": Contender(
            "glyphs-5w1s-maml", {"learner.adaptable": "['*']", "learner.steps": 5, "rule.args.lr": 0.1}
        ),
    },
}

_PAMELA = "table of Rajasegaran et al."
_ALIKE = "both with the same adaptable set, as many steps and the same inner rate to begin with"
# fmt: off
EXPECTED: dict[str, tuple[Expected, ...]] = {
    "sine": (
        Expected("meta-sgd, 1 step", "maml, 1 step", "Li et al."),
        Expected("meta-sgd", "maml", "Li et al."),
        Expected("pamela", "meta-sgd", _PAMELA),
        Expected("pamela", "maml", _PAMELA),
        Expected("cavia, 1 step", "maml, 1 step", "Zintgraf et al.", note="one step each, as published"),
        Expected(
            "cavia", "maml", "Zintgraf et al.",
            note="five steps each; with one step of rate 1 against five of MAML it is behind after 1500 "
            "iterations and level after 5000",
        ),
        Expected(
            "reptile", "maml", _PAMELA,
            note="their table, on images, has it above MAML; it walks fifteen steps of rate 0.02, MAML five "
            "of 0.01. MAML is not held back by its rate: after 2000 iterations it leaves 0.65 on validation, "
            "0.71 at twice and 1.73 at five times the rate",
        ),
        Expected("reptile", "maml", _PAMELA, steps=5),
    ),
    "glyphs": (
        Expected("maml, all", "fomaml", "Finn et al."),
        Expected("mamlpp", "maml, all, 5 steps", "Antoniou et al.", note=_ALIKE),
        Expected(
            "meta-sgd", "maml", "Li et al.",
            note="rates begin at MAML's; begun at a quarter of it, Meta-SGD was 1.5 points behind after 400",
        ),
        Expected(
            "pamela", "maml, all, 5 steps", _PAMELA,
            note=_ALIKE + ". Rates learned at 1e-3 gave 86.0 % on validation after 400 iterations, at 3e-3 "
            "88.5, where MAML had 87.1; adapting all but the head at 1e-3, 74.9 % on the test episodes",
        ),
        Expected("anil", "foanil", "Finn et al., of a head"),
        Expected(
            "anil", "maml, all, 5 steps", "Raghu et al.", "as good as",
            note="the paper finds that they match. ANIL is above the recipe of MAML, which keeps its head "
            "and takes one step, and not above MAML that adapts everything in as many steps",
        ),
    ),
}
# fmt: on
# Where Multi-MAML's learners have little in common, as the recipe says it, and where they are neighbours.
_HALVES = (
    "[{source = 'sine', args = { amplitude = [0.1, 5.0], phase = [0.0, 1.5] }}, "
    "{source = 'sine', args = { amplitude = [0.1, 5.0], phase = [1.6, 3.1] }}]"
)
MIXES: dict[str, dict[str, Any]] = {
    "opposite families": {},
    "halves of one range": {"data.args.parts": _HALVES},
}
