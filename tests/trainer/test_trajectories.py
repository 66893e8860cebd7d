"""Training along trajectories: it learns in seconds, resumes bit for bit, and its rates say what may go."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow import checkpoint
from regrow.errors import UnsupportedError
from regrow_trainer import training, trajectories
from regrow_trainer.build import build, rebuild
from regrow_trainer.feed import TEST, draw, stream_seed
from regrow_trainer.learner import Task
from regrow_trainer.recipe import parse_recipe
from regrow_trainer.rules import Rule
from regrow_trainer.rules.dmsgd import m2sgd
from regrow_trainer.strategies.unrolled import Unrolled
from regrow_trainer.tensors import Tensors, to_tensors, zero
from regrow_trainer.training import train

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {
        **{"train": "glyphs:train", "validation": "glyphs:val", "test": "glyphs:test"},
        **{"args": {"classes": 12, "samples": 16}, "n_way": 5, "k_shot": 8, "queries": 8},
    },
    "backbone": {"name": "mlp", "args": {"hidden": [12]}},
    "rule": {"name": "dmsgd"},
    "learner": {"steps": 20, "batch_norm": "none"},
    "train": {
        **{"strategy": "unrolled", "strategy_args": {"window": 5, "batch": 20}, "rule_lr": 0.003},
        **{"iterations": 15, "tasks": 1, "schedule": "constant"},
    },
    "validation": {"every": 1000, "episodes": 1, "queries": 2},
}


def recipe(*overrides: str) -> Any:
    return parse_recipe(TINY, "tiny", overrides)


def same(a: Path, b: Path) -> bool:
    one, two = checkpoint.read(a), checkpoint.read(b)
    groups = ("params", "meta", "extra")
    return all(
        np.array_equal(array, getattr(two, g)[n]) for g in groups for n, array in getattr(one, g).items()
    )


def test_it_goes_on_where_it_was_stopped_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = recipe("train.iterations=4", "train.tasks=2", "learner.steps=7", "train.strategy_args.scale=0.5")
    whole = train(short, tmp_path / "whole", workers=1)
    taken, walked = [], training.walked

    def stopping(*given: Any) -> Any:
        taken.append(1)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return walked(*given)

    monkeypatch.setattr(training, "walked", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(short, tmp_path / "parts", workers=2)
    monkeypatch.setattr(training, "walked", walked)
    parts = train(short, tmp_path / "parts", resume=True, workers=1)
    assert same(whole.last, parts.last)
    saved, start = checkpoint.read(whole.last), build(short).start()
    assert all(np.array_equal(saved.params[n], p.numpy()) for n, p in start.params.items())
    assert any(not np.array_equal(saved.meta[n], t.numpy()) for n, t in start.meta.items())
    # One step of Adam per window: 2 windows in each of 4 trajectories.
    assert saved.extra["rule_adam.step"][0] == 8


def test_tasks_one_by_one_are_tasks_side_by_side(tmp_path: Path) -> None:
    made = []
    for way in ("vmap", "loop"):
        words = ("train.iterations=1", "train.tasks=2", "learner.steps=4", f"train.batching={way}")
        made.append(checkpoint.read(train(recipe(*words), tmp_path / way, workers=1).last).meta)
    for n, array in made[0].items():
        np.testing.assert_allclose(array, made[1][n], rtol=1e-4, atol=1e-5, err_msg=n)


def ends(made: Any, meta: Tensors, rule: Rule | None = None, masks: Tensors | None = None) -> float:
    """Mean query accuracy of eight fresh learners that train on as many unseen data sets."""
    source = training.open_data(made.recipe, made.recipe.data.test)
    seed = stream_seed(made.recipe.seed, TEST)
    tasks = draw(source, made.recipe.data, made.recipe.input, 8, seed, 0, 8)
    scores = []
    for number in range(8):
        task = Task(*(t[number] for t in tasks))
        params = build(recipe(f"seed={number + 100}")).start().params
        learner = replace(made.learner, rule=rule) if rule else made.learner
        start = zero(masks or {}, params)
        x, y = task.support_x, task.support_y
        adapted = learner.adapt(start, meta, masks or {}, x, y, learner.steps)
        scores.append(float(learner.query_scores(adapted, task).accuracy))
    return sum(scores) / len(scores)


def sgd_at(lr: float) -> float:
    made = build(recipe(f"rule={{name='sgd', args={{lr={lr}}}}}"))
    return ends(made, made.start().meta)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """DMSGD after fifteen trajectories: what was built, the rates before and after."""
    run = train(recipe(), tmp_path_factory.mktemp("dmsgd") / "run", workers=1)
    saved = checkpoint.read(run.last)
    made = rebuild(saved, "tiny")
    return run, made, made.start().meta, to_tensors(saved.meta)


def test_a_trained_optimiser_beats_its_untrained_self_with_and_without_a_mask(trained: Any) -> None:
    _, made, before, after = trained
    assert ends(made, after) > ends(made, before) + 0.1
    masked = m2sgd(0.1)
    assert ends(made, after, masked) > ends(made, before, masked) + 0.1


SINGLE = {
    "lstm": [
        "rule={name='lstm_optimiser', args={}}",
        "backbone.args.hidden=[4]",
        *("train.strategy_args.scale=1.0", "train.iterations=12", "train.rule_lr=0.01"),
    ],
    "dmsgd": [
        "rule.args={form='coordinate', lr=0.01, gamma=0.3}",
        "train.iterations=6",
        "train.rule_lr=0.01",
    ],
}


@pytest.mark.parametrize("name", ["lstm", pytest.param("dmsgd", marks=pytest.mark.slow)])
def test_a_rule_for_single_weights_learns_the_lstm_on_a_narrower_network(name: str, tmp_path: Path) -> None:
    """Learners have twelve hidden units, whatever the rule was trained on: an LSTM belongs to no network."""
    saved = checkpoint.read(train(recipe(*SINGLE[name]), tmp_path / "run", workers=1).last)
    made = rebuild(saved, "tiny")
    assert ends(made, to_tensors(saved.meta)) > ends(made, made.start().meta) + 0.3


def test_it_keeps_up_with_the_best_of_many_rates_of_gradient_descent(trained: Any) -> None:
    """It is no better within these steps than the best constant rate, which takes a sweep to find."""
    _, made, _, after = trained
    best = max(sgd_at(lr) for lr in (0.03, 0.1, 0.3, 1.0))
    assert best - 0.08 < ends(made, after)


def test_its_mask_beats_a_random_one_as_dense(trained: Any, tmp_path: Path) -> None:
    run, made, _, after = trained
    start = checkpoint.read(run.last)
    words = ("prune={pruner='m2sgd', sparsity=0.95}", "train.iterations=0")
    pruned = checkpoint.read(train(recipe(*words), tmp_path / "pruned", start=start, workers=1).last)
    masks = to_tensors(pruned.masks)
    assert list(masks) == ["layers.0.weight"]
    generator = torch.Generator().manual_seed(0)
    drawn = {
        n: m.flatten()[torch.randperm(m.numel(), generator=generator)].view_as(m) for n, m in masks.items()
    }
    found, control = (ends(made, after, masks=m) for m in (masks, drawn))
    assert found > control + 0.05, (found, control)


def test_a_pruned_trajectory_begins_and_ends_with_what_is_gone_at_zero() -> None:
    made = build(recipe("train.strategy_args.scale=1.0"))
    masks = {"layers.0.weight": torch.rand(12, 784) > 0.5}
    state, chosen = replace(made.start(), masks=masks), made.strategy
    assert isinstance(chosen, Unrolled)
    at = trajectories._begin(made, chosen, state, 0)
    source = training.open_data(made.recipe, made.recipe.data.test)
    tasks = draw(source, made.recipe.data, made.recipe.input, 8, 0, 0, 1)
    task = Task(*(t[0] for t in tasks))
    _, end = chosen.advance(made.learner, state.meta, masks, task, at, 0, 2)
    for walk in (at, end):
        assert not walk.params["layers.0.weight"][~masks["layers.0.weight"]].any()
    assert not torch.equal(at.params["layers.0.weight"], end.params["layers.0.weight"])


def test_the_pruner_needs_rates(tmp_path: Path) -> None:
    words = ("prune={pruner='m2sgd', sparsity=0.8}", "rule={name='sgd', args={}}", "train.iterations=0")
    with pytest.raises(UnsupportedError, match="no rate of its own"):
        train(recipe(*words), tmp_path / "run", workers=1)
