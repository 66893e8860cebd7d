"""Recipes: a TOML file that says everything a run depends on. Reads and checks; runs nothing.

A wrong or unknown key is a RegrowError that names file, key, found, expected and the nearest key there is.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from regrow.errors import RegrowError
from regrow.files import StrPath

Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(_Part):
    """Where episodes come from and how large they are; a regression has n_way 1."""

    train: str
    validation: str
    test: str
    args: dict[str, Any] = {}
    n_way: Positive = 5
    k_shot: Positive = 1
    queries: Positive = 5


class Named(_Part):
    """A table name or dotted path, and its arguments."""

    name: str
    args: dict[str, Any] = {}


class Input(_Part):
    """Model input = (value - mean) / std; `invert` concerns image files only."""

    mean: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    std: Rate = 1.0
    invert: bool = False


class LearnerPart(_Part):
    """How the device will adapt."""

    adaptable: Annotated[list[str], Field(min_length=1)] = ["*"]
    steps: Positive = 1
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    batch_norm: Literal["none", "support", "transductive"] = "support"


class Training(_Part):
    """The outer loop: `tasks` per iteration, `chunk` of them as one batch on a core.

    `rule_lr` 0 keeps the rule's own rates as given; `clip` 0 does not clip; `steps` 0 trains with the
    learner's; `task_pool` is how many tasks there are to learn from, 0 for ever new ones; `multi_step` is
    how many iterations the query losses after earlier steps take to fade out, 0 where only the last counts;
    `hold` names parameters that only a device changes; with `dtype` "bf16" the network computes
    meta-gradients in it, while weights, updates and validation stay in fp32.
    """

    strategy: str = "first_order"
    strategy_args: dict[str, Any] = {}
    steps: Natural = 0
    multi_step: Natural = 0
    hold: list[str] = []
    optimiser: Literal["adam", "sgd"] = "adam"
    iterations: Natural
    tasks: Positive = 16
    task_pool: Natural = 0
    lr: Rate = 1e-3
    rule_lr: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    clip: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    batching: Literal["auto", "vmap", "loop"] = "auto"
    chunk: Positive = 4
    checkpoint_seconds: Rate = 30.0
    dtype: Literal["fp32", "bf16"] = "fp32"


class Validation(_Part):
    """Every `every` iterations on `episodes` fixed episodes; `patience` 0 never stops early."""

    every: Positive = 250
    episodes: Positive = 100
    queries: Positive = 5
    patience: Natural = 0


class Prune(_Part):
    """Which weights stay; `schedule` is "oneshot" or "iterative:SHARE", a share of all weights per round.

    `rewind` puts what stays back to the weights it had before any training. `device` says what the device
    moves: the `kept` positions as in training, or the pruned ones, alone (`strict`), with the head, or with
    everything that is not masked. `spare` are patterns of weights that stay whole beside the classifier's.
    """

    pruner: str = "magnitude"
    args: dict[str, Any] = {}
    sparsity: Annotated[float, Field(ge=0, lt=1)]
    scope: Literal["layer", "global"] = "layer"
    schedule: Annotated[str, Field(pattern=r"^(oneshot|iterative:0?\.[0-9]*[1-9][0-9]*)$")] = "oneshot"
    spare: list[str] = []
    rewind: bool = False
    device: Literal["kept", "strict", "plus_head", "plus_unmasked"] = "kept"


class Recipe(_Part):
    """One run, complete."""

    name: Annotated[str, Field(min_length=1)]
    seed: Natural = 0
    data: Data
    input: Input = Input()
    backbone: Named
    rule: Named = Named(name="sgd")
    learner: LearnerPart = LearnerPart()
    train: Training
    validation: Validation = Validation()
    prune: Prune | None = None


def load_recipe(path: StrPath, overrides: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe; `overrides` are "key=value" with TOML values (`full_key`)."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RegrowError(f"{path}: cannot be read as a recipe: {error}; give a TOML file") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RegrowError(f"{path}: is no TOML: {error}, expected 'key = value' lines; correct it") from error
    return parse_recipe(data, str(path), overrides)


def parse_recipe(data: Mapping[str, Any], place: str, overrides: Sequence[str] = ()) -> Recipe:
    """Check plain data against the schema; `place` opens every error."""
    merged = _copy(data)
    for override in overrides:
        _override(merged, override, place)
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        raise RegrowError("; ".join(_explain(place, e, merged) for e in error.errors())) from error


def _copy(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in data.items()}


# Where a key without a section is looked for; of two that have it the first is meant.
_SHORT: tuple[tuple[str, type[_Part]], ...] = (
    ("learner", LearnerPart),
    ("data", Data),
    ("train", Training),
    ("validation", Validation),
)


def full_key(key: str) -> str:
    """`steps` is short for `learner.steps`; a key with a section, or of the recipe itself, stays as it is.

    >>> full_key("steps"), full_key("tasks"), full_key("rule.args.lr"), full_key("seed")
    ('learner.steps', 'train.tasks', 'rule.args.lr', 'seed')
    """
    if "." in key or key in Recipe.model_fields:
        return key
    return next((f"{name}.{key}" for name, part in _SHORT if key in part.model_fields), key)


def _override(data: dict[str, Any], text: str, place: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RegrowError(f"{place}: --set {text!r}, expected section.key=value; e.g. --set train.tasks=8")
    key = full_key(key.strip())
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value  # a bare word is text, as shells strip the quotes TOML wants
    *sections, last = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise RegrowError(f"{place}: --set {text!r}: {section!r} is a value, expected a section")
    data[last] = parsed


# What pydantic says in its own words only.
_WANTED = {
    "string_pattern_mismatch": "oneshot, or iterative:SHARE of all weights per round, as in iterative:0.1"
}


def _explain(place: str, error: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    where: tuple[str | int, ...] = error["loc"]
    key = ".".join(str(part) for part in where)
    if error["type"] == "extra_forbidden":
        known = _keys(where[:-1])
        if len(where) == 1:
            known += [key for _, part in _SHORT for key in part.model_fields]
        near = difflib.get_close_matches(str(where[-1]), known, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"{place}: {key}: unknown key, expected one of this section's; {hint}"
    if error["type"] == "missing":
        return f"{place}: {key}: found nothing, expected a value; add the key"
    wanted = _WANTED.get(error["type"], error["msg"].removeprefix("Input should be "))
    return f"{place}: {key}: found {error['input']!r}, expected {wanted}; correct it"


def _keys(where: Sequence[str | int]) -> list[str]:
    """The keys of a section, by walking the models."""
    model: Any = Recipe
    for part in where:
        annotation = model.model_fields[str(part)].annotation
        model = Prune if part == "prune" else annotation
    return list(model.model_fields)
