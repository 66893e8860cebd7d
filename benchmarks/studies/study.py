"""What a study declares. Source, split, ways and sizes are those of its recipe; nothing here runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies import STUDIES

ROOT = Path(__file__).resolve().parent.parent.parent
PROTOCOLS = Path(__file__).resolve().parent / "protocols"
RESULTS = ROOT / "benchmarks" / "results" / "studies"

# Samples, (n, *shape) -> features, (n, d): what someone would compute who trains no network.
Features = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Candidate:
    """A rule that a device could train a network with which was not meta-trained."""

    rule: str
    lr: float
    adaptable: str = "*"

    @property
    def settings(self) -> tuple[str, ...]:
        """As a recipe takes them."""
        return (
            f'rule={{ name = "{self.rule}", args = {{ lr = {self.lr:g} }} }}',
            f'learner.adaptable=["{self.adaptable}"]',
        )


def grid(
    rules: tuple[tuple[str, tuple[float, ...]], ...], adaptable: tuple[str, ...]
) -> tuple[Candidate, ...]:
    """Every rule with its rates, for every adaptable set."""
    return tuple(Candidate(rule, lr, a) for a in adaptable for rule, rates in rules for lr in rates)


_RULES = (("sgd", (0.03, 0.1, 0.3, 1.0)), ("adam", (1e-3, 3e-3, 1e-2)))


@dataclass(frozen=True)
class Study:
    """One question with the means to answer it.

    `question`, `split`, `query` and `protocol` are sentences for the page. `plain` are settings with which
    the recipe trains the same network without meta-learning. `prune` and `narrow` are options of
    `regrow prune`. Of each held-out user `draws` episodes are drawn for every number of `shots`.

    `fresh` says that classes are new to whoever meets them: episodes of training and choosing have the
    recipe's number of all classes, in any order, and nothing is known of a class before it is shown. `asked`
    is what other data the users of a part bring: the part -> what changes in the recipe's section. With `of`,
    networks, bundles and every choice are those of that study, as they were shipped.
    """

    name: str
    title: str
    question: str
    unit: str  # what is held out: "person", "batch"
    split: str
    query: str
    protocol: str
    recipe: str  # in recipes/, without .toml
    features: Features
    features_are: str
    queries: int  # per class and episode
    shots: tuple[int, ...] = (1, 2, 3, 5)
    main_shots: int = 3  # of the figures that are given for one number of shots
    draws: int = 6
    plain: tuple[str, ...] = ()
    prune: tuple[str, ...] = ("--method", "fisher", "--scope", "global", "--sparsity", "0.85")
    narrow: tuple[str, ...] = ("--channels", "--sparsity", "0.5")
    retrain: int = 150  # meta-iterations after pruning
    # Chosen on the validation users: how many steps, and for what was not meta-trained also the rule.
    steps: tuple[int, ...] = (1, 2, 3, 5, 10, 20)
    tuned: tuple[Candidate, ...] = grid(_RULES, ("*", "@head"))
    scratch: tuple[Candidate, ...] = grid(_RULES, ("*",))
    steps_tuned: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 40)
    validation_draws: int = 2
    of_people: bool = False  # units are called "PERSON DEVICE", and intervals are over people
    fresh: bool = False
    asked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    of: str = ""

    @property
    def recipe_path(self) -> Path:
        return ROOT / "recipes" / f"{self.recipe}.toml"


def load(name: str) -> Study:
    """The study of a name."""
    if name not in STUDIES:
        raise SystemExit(f"study {name!r}: not known, expected one of {', '.join(STUDIES)}")
    module, _, constant = STUDIES[name].partition(":")
    return cast(Study, getattr(import_module(module), constant))


def plain_data(study: Study) -> dict[str, Any]:
    """The study as its record holds it: everything but code."""
    kept = {k: v for k, v in vars(study).items() if not callable(v)}
    kept |= {key: [vars(c) for c in kept[key]] for key in ("tuned", "scratch")}
    return kept
