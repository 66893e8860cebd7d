"""Evaluation without torch: against chance, against simpler methods on the same episodes; its arithmetic."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regrow
from regrow.episodes.files import Arrays
from regrow.evaluate import Evaluation, Sizes, evaluate, nearest_class_mean, nearest_pixel
from regrow.progress import Progress

SIZES: Sizes = {"n_way": 4, "k_shot": 2, "queries": 5, "episodes": 60, "seed": 11}


@pytest.fixture(scope="module")
def source() -> Arrays:
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(20, 6)) * 2
    data = [(c + rng.normal(size=(12, 6)) * 0.7).astype(np.float32) for c in centres]
    return Arrays([f"c{i}" for i in range(20)], data)


def test_adapting_beats_chance_and_shuffled_labels_do_not(
    tiny: ModuleType, model: regrow.Model, source: Arrays
) -> None:
    adapted = evaluate(model, source, **SIZES)
    control = evaluate(model, source, shuffle_labels=True, **SIZES)
    before = evaluate(model, source, steps=0, **SIZES)
    assert adapted.mean - adapted.half_width > 0.5
    assert abs(control.mean - 0.25) < 2 * control.half_width
    assert abs(before.mean - 0.25) < 0.2
    assert adapted.minus(control).mean == pytest.approx(adapted.mean - control.mean)


def test_simpler_methods_score_the_same_episodes(source: Arrays) -> None:
    pixel = nearest_pixel(source, **SIZES)
    mean = nearest_class_mean(source, lambda support, x: x, **SIZES)
    blind = nearest_class_mean(source, lambda support, x: np.zeros((len(x), 1)), **SIZES)
    assert pixel.mean > 0.7
    assert mean.mean >= pixel.mean - 0.05
    assert blind.mean == pytest.approx(0.25)
    # Labels are drawn per episode, so equal scores in every episode mean equal episodes.
    np.testing.assert_array_equal(pixel.scores, nearest_pixel(source, **SIZES).scores)
    assert (pixel.scores != nearest_pixel(source, **{**SIZES, "seed": 12}).scores).any()


def test_a_rollback_scores_the_model_as_it_was(tiny: ModuleType, make: Any, source: Arrays) -> None:
    wild = make("wild", lr=np.inf)
    made = evaluate(wild, source, **SIZES)
    assert made.rolled_back == SIZES["episodes"]
    np.testing.assert_array_equal(made.scores, evaluate(wild, source, steps=0, **SIZES).scores)


def test_the_interval_is_the_textbook_one() -> None:
    made = Evaluation(np.array([0.2, 0.4, 0.6, 0.8]))
    assert made.half_width == pytest.approx(1.96 * np.std([0.2, 0.4, 0.6, 0.8], ddof=1) / 2)
    assert made.to_json()["mean"] == pytest.approx(0.5)
    single = Evaluation(np.array([0.5]))
    assert single.half_width == math.inf
    assert single.to_json()["half_width"] is None


def test_evaluations_that_do_not_pair_are_refused() -> None:
    a = Evaluation(np.zeros(3))
    with pytest.raises(regrow.SampleError, match="3 episodes of accuracy against 2"):
        a.minus(Evaluation(np.zeros(2)))
    with pytest.raises(regrow.SampleError, match="read scores"):
        _ = Evaluation(np.zeros(3), "mse").accuracies


def test_nothing_to_evaluate_is_refused(source: Arrays) -> None:
    with pytest.raises(regrow.SampleError, match="0 episodes of 5 queries"):
        nearest_pixel(source, **{**SIZES, "episodes": 0})


def test_progress_is_told(source: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, dict[str, float]]] = []
    progress = Progress(60, "evaluate")
    monkeypatch.setattr(progress, "update", lambda done, **figures: told.append((done, figures)))
    made = nearest_pixel(source, progress=progress, **SIZES)
    assert told[-1] == (60, {"accuracy": pytest.approx(made.mean)})
