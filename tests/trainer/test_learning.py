"""Every method learns: after a few seconds of sine waves it beats its own start and what was never trained.

The recipe gives rule, strategy and adaptable set; data and sizes are replaced where they would take minutes.
The bounds are shares of the mean squared error of, first, the same learner before it adapts, and second, the
same adaptation from weights that were not meta-trained.
"""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow import checkpoint
from regrow.episodes import open_source
from regrow_trainer.evaluate import Report, Sizes, evaluate
from regrow_trainer.recipe import load_recipe
from regrow_trainer.training import train

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = [
    *("train.iterations=150", "train.tasks=8", "train.chunk=8", "train.lr=0.01"),
    *("validation.every=150", "validation.episodes=10"),
]
SINE = [
    "data={train='sine:train', validation='sine:val', test='sine:test', n_way=1, k_shot=10}",
    *("learner.loss=mse", "learner.batch_norm=none", "learner.steps=2"),
    "backbone={name='mlp', args={hidden=[40, 40]}}",
]
# method -> recipe, what to replace, share of the own start, share of the untrained
METHODS: dict[str, tuple[str, list[str], float, float]] = {
    "maml": ("sine-maml", ["rule.args.lr=0.02", "learner.steps=2"], 0.8, 0.7),
    "fomaml": ("glyphs-5w1s-fomaml", [*SINE, "rule.args.lr=0.02"], 0.85, 0.8),
    "reptile": ("sine-reptile", ["train.lr=1.0", "train.tasks=4", "learner.steps=8"], 0.5, 0.5),
    "meta_sgd": ("sine-meta-sgd", ["learner.steps=2", "train.rule_lr=1e-3"], 0.8, 0.7),
    "maml++": ("glyphs-5w1s-mamlpp", [*SINE, "learner.adaptable=['*']", "train.multi_step=50"], 0.8, 0.8),
    "pamela": ("sine-pamela", ["learner.steps=2"], 0.8, 0.7),
    "cavia": ("sine-cavia", [], 0.7, 0.7),
    "anil": ("glyphs-5w1s-anil", [*SINE, "rule.args.lr=0.05"], 0.7, 0.7),
    "foanil": ("glyphs-5w1s-foanil", [*SINE, "rule.args.lr=0.05"], 0.95, 0.9),
    "bmp": ("glyphs-5w1s-bmp", [*SINE, "rule.args.lr=0.02"], 0.8, 0.8),
    "dmsgd": ("sine-dmsgd", ["learner.steps=2", "train.rule_lr=1e-3"], 0.8, 0.7),
    "m2sgd": ("sine-m2sgd", ["learner.steps=2", "train.rule_lr=1e-3"], 0.8, 0.8),
    "mmsup": (
        "glyphs-5w1s-mmsup",
        [*SINE, "rule.args.lr=0.02", "backbone={name='supermask', args={backbone='mlp', keep=0.7}}"],
        0.85,
        0.85,
    ),
}


def measured(method: str, folder: Path, *overrides: str) -> Report:
    """Train, then 60 waves that training did not see."""
    name, replaced, *_ = METHODS[method]
    recipe = load_recipe(RECIPES / f"{name}.toml", [*SMALL, *replaced, *overrides])
    run = train(recipe, folder, workers=1)
    sizes = Sizes(1, 10, 10, 60, 0)
    return evaluate(checkpoint.read(run.best), open_source("sine:test"), sizes, workers=1)


@pytest.mark.parametrize("method", METHODS)
def test_it_beats_its_own_start_and_the_untrained(method: str, tmp_path: Path) -> None:
    trained = measured(method, tmp_path / "trained")
    untrained = measured(method, tmp_path / "untrained", "train.iterations=0")
    *_, of_start, of_untrained = METHODS[method]
    error = trained.curve[-1].mean
    assert error < of_start * trained.curve[0].mean
    assert error < of_untrained * untrained.curve[-1].mean


def glyph_recipes() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("glyphs-5w1s-*.toml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", glyph_recipes())
def test_on_glyphs_it_beats_its_own_start_and_the_untrained(name: str, tmp_path: Path) -> None:
    """By ten points of accuracy each, with half of the width and 200 iterations."""
    width = "backbone.args.args.width=16" if name.endswith("mmsup") else "backbone.args.width=16"
    found: dict[str, Any] = {}
    for label, iterations in (("trained", 200), ("untrained", 0)):
        words = [width, f"train.iterations={iterations}", "validation.every=200", "validation.episodes=20"]
        run = train(load_recipe(RECIPES / f"{name}.toml", words), tmp_path / label)
        sizes = Sizes(5, 1, 5, 100, 0)
        found[label] = evaluate(checkpoint.read(run.best), open_source("glyphs:test"), sizes).curve
    assert found["trained"][-1].mean > found["trained"][0].mean + 0.1
    assert found["trained"][-1].mean > found["untrained"][-1].mean + 0.1
