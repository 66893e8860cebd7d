"""`--memory-limit`: what a task takes is measured; a limit makes chunks smaller, then gives threads up."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow import checkpoint
from regrow.errors import BudgetError, RegrowError
from regrow_trainer.cli import train as command
from regrow_trainer.memory import Plan, Use, measure, plan
from regrow_trainer.training import train

MB = 10**6


@pytest.mark.parametrize(
    ("limit", "workers", "found"),
    [
        (1000, 2, Plan(2, 4, 180)),
        (179, 2, Plan(2, 3, 160)),
        (125, 2, Plan(2, 1, 120)),
        (115, 2, Plan(1, 1, 110)),
        (1000, 1, Plan(1, 4, 140)),
    ],
)
def test_chunks_shrink_before_threads_are_given_up(
    make_recipe: Callable[..., Any], limit: int, workers: int, found: Plan
) -> None:
    assert plan(make_recipe("sine"), Use(100, 10), limit, workers) == found


def test_what_cannot_fit_says_needed_and_given(make_recipe: Callable[..., Any]) -> None:
    with pytest.raises(BudgetError, match="needs 110 B for one task at a time, given 109 B"):
        plan(make_recipe("sine"), Use(100, 10), 109)


def test_a_wider_network_takes_more_per_task(make_recipe: Callable[..., Any]) -> None:
    """At 64 channels the activations of one task alone are some megabytes."""
    words = ["backbone.args={width=64, depth=2, downsample='stride'}", "train.strategy=second_order"]
    use = measure(make_recipe("glyphs", *words, "learner.steps=3"))
    assert 5 * MB < use.per_task < 200 * MB
    assert use.fixed > 50 * MB


def test_a_recipe_that_fails_is_told_with_its_reason(make_recipe: Callable[..., Any]) -> None:
    with pytest.raises(RegrowError, match="nowhere"):
        measure(make_recipe("sine", "backbone={name='nowhere:Net'}"))


def test_smaller_chunks_change_the_weights_by_rounding_only(
    make_recipe: Callable[..., Any], tmp_path: Path
) -> None:
    recipe = make_recipe("sine", "train.tasks=6", "train.iterations=2", "train.optimiser=sgd")
    a, b = (checkpoint.read(train(recipe, tmp_path / str(c), chunk=c).last).params for c in (1, 4))
    for name, value in a.items():
        np.testing.assert_allclose(b[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_command_takes_bytes_with_units() -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    args = parser.parse_args(["r.toml", "-o", "x", "--memory-limit", "1.5GB"])
    assert args.memory_limit == 1_500_000_000
