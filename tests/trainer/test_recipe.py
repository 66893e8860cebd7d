"""Recipes: what is right is read, what is wrong is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydantic")

from regrow.errors import RegrowError
from regrow_trainer.recipe import (
    Data,
    Input,
    LearnerPart,
    Prune,
    Training,
    Validation,
    full_key,
    load_recipe,
    parse_recipe,
)

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_of_the_repository_is_valid_and_named_like_its_file(path: Path) -> None:
    assert load_recipe(path).name == path.stem


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 3


def test_overrides_are_toml_values_or_bare_words(make_recipe: Callable[..., Any]) -> None:
    made = make_recipe("glyphs", "train.lr=0.5", "rule.args.lr=1", "train.schedule=constant", "seed=3")
    assert (made.train.lr, made.rule.args, made.train.schedule, made.seed) == (0.5, {"lr": 1}, "constant", 3)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.iteration=3", ["train.iteration", "unknown key", "did you mean 'iterations'"]),
        ("train.zzz=3", ["train.zzz", "known keys", "iterations"]),
        ("trian.lr=3", ["trian", "did you mean 'train'"]),
        ("train.lr=-1", ["train.lr", "-1", "greater than 0"]),
        ("train.tasks=2.5", ["train.tasks", "2.5", "integer"]),
        ('train.tasks="4"', ["train.tasks", "'4'", "integer"]),
        ("train.lr=nan", ["train.lr", "nan", "finite"]),
        ("learner.loss=hinge", ["learner.loss", "'hinge'", "'cross_entropy' or 'mse'"]),
        ("learner.adaptable=[]", ["learner.adaptable", "at least 1"]),
        ("prune.sparsity=1.0", ["prune.sparsity", "1.0", "less than 1"]),
        (
            "prune.sparsty=0.5",
            ["prune.sparsty", "did you mean 'sparsity'", "prune.sparsity", "found nothing"],
        ),
        ("seed.x=1", ["'seed' is a value", "section"]),
        ("seed", ["--set 'seed'", "section.key=value"]),
    ],
)
def test_a_wrong_key_is_named(make_recipe: Callable[..., Any], override: str, words: list[str]) -> None:
    with pytest.raises(RegrowError) as caught:
        make_recipe("glyphs", "seed=1", override)
    text = str(caught.value)
    assert text.startswith("tiny glyphs: ")
    assert all(word in text for word in words), text


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(
        RegrowError, match=r"(?s)name: found nothing.*data: found nothing.*train: found nothing"
    ):
        parse_recipe({}, "empty.toml")


def test_schedules_of_pruning(make_recipe: Callable[..., Any]) -> None:
    made = make_recipe("glyphs", "prune.sparsity=0.5", "prune.schedule=iterative:0.1")
    assert made.prune.schedule == "iterative:0.1"
    with pytest.raises(RegrowError, match=r"prune.schedule: found 'iterative:2'"):
        make_recipe("glyphs", "prune.sparsity=0.5", "prune.schedule=iterative:2")


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read"), (b"\xff", "cannot be read"), (b"a = ", "is no TOML")]
)
def test_a_file_that_is_no_recipe(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "r.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RegrowError, match=words) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("steps", "learner.steps"),
        ("k_shot", "data.k_shot"),
        ("queries", "data.queries"),
        ("tasks", "train.tasks"),
        ("lr", "train.lr"),
        ("episodes", "validation.episodes"),
        ("seed", "seed"),
        ("train.steps", "train.steps"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_bare_key_stands_for_one_of_a_section(short: str, full: str) -> None:
    assert full_key(short) == full


def test_a_bare_key_that_is_none_names_the_nearest(make_recipe: Callable[..., Any]) -> None:
    with pytest.raises(RegrowError, match="did you mean 'steps'"):
        make_recipe("sine", "stepz=3")


def test_the_page_on_training_names_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    parts = {"data": Data, "learner": LearnerPart, "train": Training, "validation": Validation}
    for name, part in {**parts, "input": Input, "prune": Prune}.items():
        for key in part.model_fields:
            assert f"`{name}.{key}`" in page, f"{name}.{key}"
