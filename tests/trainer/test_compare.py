"""`regrow compare`: paired episodes, an interval that means what it says, and a verdict."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow.errors import RegrowError, SampleError
from regrow.evaluate import Evaluation
from regrow_trainer import cli
from regrow_trainer.compare import difference, verdict
from regrow_trainer.recipe import parse_recipe
from regrow_trainer.training import train
from tests.trainer.conftest import SINE


def evaluation(scores: Any, metric: Any = "accuracy") -> Evaluation:
    return Evaluation(np.asarray(scores, dtype=np.float64), metric)


def test_the_interval_is_that_of_the_mean_and_pairing_narrows_it() -> None:
    rng = np.random.default_rng(0)
    hard, gap = rng.normal(size=400), 0.1 + 0.1 * rng.normal(size=400)
    found = difference(evaluation(hard), evaluation(hard + gap))
    half = 1.96 * gap.std(ddof=1) / 20
    assert found.mean == pytest.approx(gap.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)
    assert found.real
    # The same two sets of scores, unpaired, tell nothing.
    assert not difference(evaluation(hard), evaluation(rng.permutation(hard + gap))).real


def test_the_same_scores_are_no_difference() -> None:
    found = difference(evaluation([0.2, 0.4, 0.9]), evaluation([0.2, 0.4, 0.9]))
    assert (found.mean, found.low, found.high, found.real) == (0, 0, 0, False)


def test_about_one_in_twenty_comparisons_of_equals_is_called_real() -> None:
    rng = np.random.default_rng(1)
    called = [difference(*map(evaluation, rng.normal(size=(2, 60))), seed=i).real for i in range(60)]
    assert 0 <= sum(called) <= 10


def test_unpaired_evaluations_are_refused() -> None:
    with pytest.raises(SampleError, match="expected the same"):
        difference(evaluation([0.1]), evaluation([0.1, 0.2]))


@pytest.mark.parametrize(
    ("gaps", "metric", "said"),
    [
        ([0.1, 0.2, 0.1], "accuracy", "b is better"),
        ([0.1, 0.2, 0.1], "mse", "a is better"),
        ([-0.1, -0.2, -0.1], "mse", "b is better"),
        ([-0.1, 0.2, -0.1], "accuracy", "may be chance"),
    ],
)
def test_the_verdict_knows_which_way_is_better(gaps: list[float], metric: Any, said: str) -> None:
    found = difference(evaluation([0.5] * 3, metric), evaluation(np.add(0.5, gaps), metric))
    assert said in verdict(found, "a", "b", metric)


def run(*words: str) -> None:
    """The command, as typed."""
    parser = argparse.ArgumentParser()
    cli.compare.configure(parser)
    parser.add_argument("--json", action="store_true")
    assert cli.compare.run(parser.parse_args([*words, "--json"])) == 0


def test_it_tells_a_trained_learner_from_an_untrained_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, untrained = (
        str(
            train(
                parse_recipe(SINE, name, [f"train.iterations={count}", "train.tasks=8"]), tmp_path / name
            ).best
        )
        for name, count in (("trained", 60), ("untrained", 0))
    )
    run(untrained, trained, "--episodes", "80")
    told = json.loads(capsys.readouterr().out)
    assert told["difference"]["real"]
    assert told["difference"]["mean"] == pytest.approx(told["files"][1]["mean"] - told["files"][0]["mean"])
    run(trained, trained, "--episodes", "5")
    assert json.loads(capsys.readouterr().out)["difference"]["real"] is False
    other = str(train(parse_recipe(SINE, "o", ["train.iterations=0", "data.k_shot=3"]), tmp_path / "o").best)
    with pytest.raises(RegrowError, match=r"k_shot 3, .* with 5, .* add --k-shot"):
        run(trained, other)
    run(trained, other, "--k-shot", "4", "--episodes", "3")
