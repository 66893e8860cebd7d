"""Multi-MAML on the device: a bundle per distribution; `regrow.route` chooses as the learners would."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("pydantic")

import regrow
from regrow import checkpoint, engines
from regrow.cli import main
from regrow.episodes import open_source
from regrow.errors import AdaptError, SampleError
from regrow_exporter.checkpoints import export_checkpoint
from regrow_trainer.evaluate import Sizes
from regrow_trainer.multi import evaluate_routers
from regrow_trainer.recipe import load_recipe
from regrow_trainer.training import train

RECIPE = Path(__file__).parents[2] / "recipes" / "sine-multi-maml.toml"
SHORT = [
    *("iterations=100", "tasks=8", "chunk=8", "train.lr=0.01", "steps=2", "rule.args.lr=0.02"),
    *("every=100", "episodes=10"),
]
SIZES = Sizes(1, 10, 10, 25, 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A checkpoint per part, and one for both; the bundles lie beside the checkpoints."""
    folder, made = tmp_path_factory.mktemp("multi"), []
    for name, words in (("0", ["data.args.only=0"]), ("1", ["data.args.only=1"]), ("single", [])):
        run = train(load_recipe(RECIPE, [*SHORT, *words]), folder / name, workers=1)
        export_checkpoint(run.best, run.best.with_suffix(".regrow"))
        made.append(run.best)
    return made


def test_every_learner_saw_its_own_distribution(trained: list[Path]) -> None:
    kept = [checkpoint.read(path).recipe["data"]["args"].get("only") for path in trained]
    assert kept == [0, 1, None]


def test_a_device_scores_and_chooses_as_the_learners_do(
    trained: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    saved = [checkpoint.read(path) for path in trained[:2]]
    sources = [open_source("mixture:test", **c.recipe["data"]["args"]) for c in saved]
    wanted = evaluate_routers(saved, sources, SIZES, 1)
    bundles = [str(path.with_suffix(".regrow")) for path in trained[:2]]
    line = ["evaluate", *bundles, "--episodes", "25", "--queries", "10", "--json"]
    assert main(line) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["agreement"] == wanted.agreement
    for name, evaluation in wanted.by_router.items():
        assert told["routers"][name]["mean"] == pytest.approx(evaluation.mean, rel=1e-3), name


@pytest.mark.parametrize("engine", engines.available())
def test_route_keeps_the_session_that_fits_best(trained: list[Path], engine: str) -> None:
    models = [regrow.open(path.with_suffix(".regrow"), engine=engine) for path in trained[:2]]
    x = np.linspace(-4, 4, 10, dtype=np.float32)[:, None]
    chosen: list[int] = []
    for phase in (0.3, 3.3):
        y = (3 * np.sin(x + phase)).astype(np.float32)
        made = regrow.route(models, x, y)
        alone = [model.session() for model in models]
        losses = [session.adapt(x, y).loss for session in alone]
        assert made.losses == tuple(losses)
        assert made.number == int(np.argmin(losses))
        wanted = alone[made.number].predict(x).logits
        np.testing.assert_array_equal(made.session.predict(x).logits, wanted)
        chosen.append(made.number)
    assert len(set(chosen)) == 2


def test_one_for_all_meets_the_same_episodes(trained: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    files, single = [str(path) for path in trained[:2]], str(trained[2])
    line = ["evaluate", *files, "--single", single, "--episodes", "25", "--queries", "10"]
    assert main([*line, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)["routers"]
    assert list(told) == ["given", "support loss", "only 0", "only 1", "one for all"]
    assert {e["episodes"] for e in told.values()} == {50}
    assert main(line) == 0
    assert "the support loss chooses as given in" in capsys.readouterr().out


def test_a_router_without_models_and_models_that_cannot(trained: list[Path]) -> None:
    with pytest.raises(SampleError, match="no model"):
        regrow.route([], [[0.0]], [[0.0]])
    models = [regrow.open(path.with_suffix(".regrow")) for path in trained[:2]]
    wild = np.full((10, 1), 1e30, np.float32)
    with pytest.raises(AdaptError, match="none of 2 models"):
        regrow.route(models, np.full((10, 1), 1e3, np.float32), wild)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{0}", "{bundle}"], "expected one kind"),
        (["{0}", "--single", "{1}"], "--single with one file"),
        (["{0}", "{1}", "--source", "sine:test"], "expected each file's own"),
    ],
)
def test_mistakes(
    trained: list[Path], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    names = {"bundle": trained[0].with_suffix(".regrow")}
    assert main(["evaluate", *(word.format(*trained, **names) for word in words)]) == 2
    assert said in capsys.readouterr().err


def test_a_part_that_is_not_there() -> None:
    with pytest.raises(SampleError, match="only is 2, expected a number from 0 to 1"):
        open_source("mixture:test", parts=[{"source": "sine"}, {"source": "sine"}], only=2)
