"""What the benchmark of the methods says of an expected order, for scores made up by hand."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pydantic")

from benchmarks.methods import AS_GOOD, KINDS, MULTI, RECIPES, contenders, order
from benchmarks.methods_expected import EXPECTED, MIXES, Expected
from regrow.evaluate import Evaluation, Metric
from regrow_trainer.recipe import load_recipe

NOISE = np.random.default_rng(0).normal(0, 0.02, 400)


def curves(metric: Metric, *means: float) -> list[list[Evaluation]]:
    """A seed per mean, which is the score after one step; before it is 0.5. Episodes vary alike."""
    return [[Evaluation(0.5 + NOISE, metric), Evaluation(mean + NOISE, metric)] for mean in means]


def found(better: list[list[Evaluation]], worse: list[list[Evaluation]], **more: Any) -> str:
    told = order(Expected("a", "b", "a paper", **more), {"a": better, "b": worse}, 0.05)
    return str(told["found"])


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("mse", -1)])
def test_an_order_holds_where_every_seed_agrees(metric: Metric, sign: int) -> None:
    base = curves(metric, 0.6, 0.6)
    assert found(curves(metric, 0.6 + sign * 0.1, 0.6 + sign * 0.02), base) == "holds"
    # The mean is ahead, one seed is not.
    assert found(curves(metric, 0.6 + sign * 0.1, 0.6 - sign * 0.02), base) == "open"
    assert found(curves(metric, 0.6 - sign * 0.1), base) == "does not hold"
    assert found(curves(metric, 0.6), base) == "open"


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("mse", -1)])
def test_as_good_is_not_far_behind(metric: Metric, sign: int) -> None:
    # 0.05 of accuracy, or 0.05 of the other's error, which is 0.6.
    base, near, far = curves(metric, 0.6), 0.6 - sign * 0.02, 0.6 - sign * 0.1
    assert found(curves(metric, near), base, relation="as good as") == "holds"
    assert found(curves(metric, far), base, relation="as good as") == "does not hold"


def test_a_number_of_steps_is_looked_up_on_the_way() -> None:
    assert found(curves("accuracy", 0.9), curves("accuracy", 0.6), steps=0) == "open"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_whom_an_order_names_takes_part(kind: str) -> None:
    made = contenders(kind)
    assert AS_GOOD[kind] > 0
    for expected in EXPECTED[kind]:
        assert {expected.better, expected.worse} <= set(made), expected
    for who in made.values():
        load_recipe(
            str(RECIPES / f"{who.recipe}.toml"), [f"{key}={value}" for key, value in who.settings.items()]
        )


def test_every_mix_is_a_setting_of_the_recipe() -> None:
    for settings in MIXES.values():
        words = [f"{key}={value}" for key, value in settings.items()]
        assert len(load_recipe(str(RECIPES / f"{MULTI}.toml"), words).data.args["parts"]) == 2
