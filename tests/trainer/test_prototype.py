"""The prototype rule in torch; and on the device it is the nearest class mean of the same frozen features."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow.errors import UnsupportedError
from regrow_trainer import rules
from regrow_trainer.rules.prototype import prototype


def fitted(rule: Any, x: Any, y: Any, ways: int = 3) -> Any:
    params = rule.init(ways, x.shape[1])
    return rule.fit(params, x, torch.nn.functional.one_hot(y, ways).to(x.dtype))


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_scores_are_those_of_the_class_means(distance: str) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 3
    rule = prototype(distance, 2.0)  # type: ignore[arg-type]
    scores = rule.score(fitted(rule, x, y), x)
    means = torch.stack([x[y == c].mean(0) for c in range(3)])
    if distance == "cosine":
        expected = 2 * torch.nn.functional.cosine_similarity(x[:, None], means, dim=2)
    else:
        expected = -2 * ((x[:, None] - means) ** 2).sum(2)
    torch.testing.assert_close(scores, expected)


def test_a_fit_adds_to_what_is_there_and_touches_no_other_class() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 4)
    rule = prototype()
    once = fitted(rule, x, torch.tensor([0, 0, 1, 1, 1, 0]))
    hot = torch.nn.functional.one_hot(torch.tensor([1, 1]), 3).float()
    twice = rule.fit(once, x[:2], hot)
    assert torch.equal(twice["sums"][[0, 2]], once["sums"][[0, 2]])
    torch.testing.assert_close(twice["sums"][1], once["sums"][1] + x[:2].sum(0))
    assert twice["counts"].tolist() == [3, 5, 0]


def test_an_untaught_class_scores_without_a_division_by_zero() -> None:
    x = torch.randn(2, 4)
    assert prototype("cosine").score(prototype().init(3, 4), x).tolist() == [[0.0] * 3] * 2
    torch.testing.assert_close(prototype().score(prototype().init(1, 4), x)[:, 0], -(x * x).sum(1))


def test_it_is_no_rule_to_train_with() -> None:
    with pytest.raises(UnsupportedError, match=r"metric head.*--rule prototype"):
        rules.build("regrow_trainer.rules.prototype:prototype", {})


def test_evaluated_on_the_device_it_is_the_nearest_class_mean_of_frozen_features(
    make_recipe: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from regrow.cli import main
    from regrow_trainer.training import train

    def told(*words: object) -> Any:
        assert main([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    run = train(make_recipe("glyphs", "train.iterations=20", "data.k_shot=2"), tmp_path / "run")
    bundle = tmp_path / "m.regrow"
    made = told("export", run.best, "-o", bundle, "--rule", "prototype")
    assert set(made["verification"]["engines"]["onnx"]) == {"fit", "fit_torch", "drift", "drift_torch"}
    sizes = ("--episodes", 150, "--queries", 4, "--seed", 3)
    control = told("evaluate", run.best, *sizes)["controls"]["nearest class mean"]
    device = told("evaluate", bundle, *sizes)
    before, after = device["curve"]
    assert (before["steps"], after["steps"], after["rolled_back"]) == (0, 1, 0)
    assert after["mean"] == pytest.approx(control["mean"], abs=1e-3)
    assert after["half_width"] == pytest.approx(control["half_width"], abs=1e-3)
    assert after["mean"] > 0.5
    chance = device["controls"]["shuffled labels"]
    assert abs(before["mean"] - 1 / 3) < 0.05
    assert abs(chance["mean"] - 1 / 3) < 0.15
