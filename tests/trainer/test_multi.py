"""Multi-MAML: with one distribution it is MAML; a router that is told nothing finds the right learner."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow import checkpoint
from regrow.checkpoint import Checkpoint
from regrow.episodes import open_source
from regrow_trainer.evaluate import Sizes, evaluate
from regrow_trainer.multi import evaluate_routers
from regrow_trainer.training import train

SIZES = Sizes(1, 10, 10, 30, 0)
# Two families that have nothing in common.
FAMILIES = ({"amplitude": [2.0, 3.0], "phase": [0.0, 0.5]}, {"amplitude": [2.0, 3.0], "phase": [3.1, 3.6]})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Checkpoint]:
    from regrow_trainer.recipe import parse_recipe
    from tests.trainer.conftest import SINE

    def make(name: str, *overrides: str) -> Checkpoint:
        words = [
            "train.iterations=150",
            "train.tasks=8",
            "validation.every=150",
            "data.k_shot=10",
            *overrides,
        ]
        folder = tmp_path_factory.mktemp(name) / "run"
        return checkpoint.read(train(parse_recipe(SINE, name, words), folder, workers=1).best)

    return make


def family(args: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key} = {value}" for key, value in args.items()) + "}"


def test_with_one_distribution_it_is_maml(trained: Callable[..., Checkpoint]) -> None:
    one = trained("one", "train.iterations=2")
    routed = evaluate_routers([one], [open_source("sine:test")], SIZES, 1)
    alone = evaluate(one, open_source("sine:test"), SIZES, workers=1)
    for scores in routed.by_router.values():
        np.testing.assert_allclose(scores.scores, alone.curve[-1].scores, rtol=1e-6)
    assert routed.agreement == 1


def test_the_support_loss_finds_the_learner_and_both_beat_one_of_the_mixture(
    trained: Callable[..., Checkpoint],
) -> None:
    learners = [trained(f"d{i}", f"data.args={family(args)}") for i, args in enumerate(FAMILIES)]
    sources = [open_source("sine:test", **args) for args in FAMILIES]
    routed = evaluate_routers(learners, sources, SIZES, 1)
    errors = {name: e.mean for name, e in routed.by_router.items()}
    assert routed.agreement > 0.9
    assert errors["support loss"] < 1.2 * errors["given"]
    assert errors["given"] < 0.5 * min(errors["only 0"], errors["only 1"])
    # As many episodes and iterations as both of them together had.
    parts = ", ".join(f"{{source = 'sine', args = {family(args)}}}" for args in FAMILIES)
    words = [f"data.{part}='mixture:{name}'" for part, name in (("train", "train"), ("validation", "val"))]
    mixed = trained("mixed", *words, f"data.args.parts=[{parts}]", "train.iterations=300")
    single = evaluate_routers([mixed, mixed], sources, SIZES, 1).by_router["given"].mean
    assert errors["support loss"] < single
