"""Evaluation of checkpoints: paired episodes, controls at chance, nothing adapted leaks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow import checkpoint, evaluate
from regrow.checkpoint import Checkpoint
from regrow.episodes import open_source
from regrow_trainer.evaluate import Report, Sizes
from regrow_trainer.evaluate import evaluate as measure
from regrow_trainer.training import train

SIZES = Sizes(n_way=3, k_shot=1, queries=2, episodes=50, seed=4)


@pytest.fixture(scope="module")
def source() -> Any:
    return open_source("glyphs:test", classes=12, samples=6)


@pytest.fixture
def untrained(make_recipe: Callable[..., Any], tmp_path: Path) -> Checkpoint:
    recipe = make_recipe("glyphs", "train.iterations=0", "learner.steps=2")
    return checkpoint.read(train(recipe, tmp_path / "run").best)


def test_without_training_and_steps_accuracy_is_chance(untrained: Checkpoint, source: Any) -> None:
    report = measure(untrained, source, SIZES)
    assert len(report.curve) == 3
    assert abs(report.curve[0].mean - 1 / 3) < 0.1
    assert abs(report.controls["shuffled labels"].mean - 1 / 3) < 0.15
    # Pixels of a glyph say more about its class than nothing.
    assert report.controls["nearest pixel"].mean > 0.45


def test_nearest_pixel_agrees_with_the_runtimes_on_the_same_episodes(
    untrained: Checkpoint, source: Any
) -> None:
    report = measure(untrained, source, SIZES, steps=0)
    sizes = {"n_way": 3, "k_shot": 1, "queries": 2, "episodes": 50, "seed": 4}
    theirs = evaluate.nearest_pixel(source, **sizes)
    assert np.allclose(report.controls["nearest pixel"].scores, theirs.scores)


def test_one_episode_says_the_same_alone_and_among_others(untrained: Checkpoint, source: Any) -> None:
    few = measure(untrained, source, replace(SIZES, episodes=1))
    many = measure(untrained, source, replace(SIZES, episodes=9))
    assert np.array_equal(few.curve[-1].scores, many.curve[-1].scores[:1])


def test_features_come_before_the_head_and_before_adaptation(untrained: Checkpoint, source: Any) -> None:
    slow = replace(untrained, meta={"lr": np.array(0.0, dtype=np.float32)})
    a, b = (measure(c, source, SIZES).controls["nearest class mean"].scores for c in (untrained, slow))
    assert np.array_equal(a, b)
    blind = {n: np.zeros_like(p) if n.startswith("blocks.2") else p for n, p in untrained.params.items()}
    constant = measure(replace(untrained, params=blind), source, SIZES).controls["nearest class mean"]
    # Equal features are a tie, which falls to the first class.
    assert constant.mean == pytest.approx(1 / 3)


def test_a_regression_has_a_curve_of_errors(make_recipe: Callable[..., Any], tmp_path: Path) -> None:
    run = train(make_recipe("sine", "train.iterations=60", "train.tasks=8"), tmp_path / "run")
    sizes = Sizes(n_way=1, k_shot=5, queries=20, episodes=60, seed=0)
    report: Report = measure(checkpoint.read(run.best), open_source("sine:test"), sizes)
    assert report.curve[0].metric == "mse"
    assert report.curve[2].mean < report.curve[0].mean
    assert report.controls == {}
    assert report.to_json()["curve"][0]["episodes"] == 60
