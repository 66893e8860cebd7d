"""Every recipe runs, every method has one, and the page of methods says what they are."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow import checkpoint
from regrow.episodes import open_source
from regrow.errors import SampleError
from regrow_trainer import methods
from regrow_trainer.build import build
from regrow_trainer.recipe import load_recipe
from regrow_trainer.training import train

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
SHORT = [
    *("train.iterations=2", "train.tasks=1", "train.chunk=1"),
    *("validation.every=2", "validation.episodes=1", "validation.queries=1"),
]
FEW_STEPS = ["learner.steps=6", "data.k_shot=5"]


# Nobody has to have the data: built-in glyphs run the same code, and so does a narrow network.
GLYPHS = [
    "data.args={}",
    *(
        f"data.{part}='glyphs:{name}'"
        for part, name in (("train", "train"), ("validation", "val"), ("test", "test"))
    ),
]
NARROW = "backbone.args.width=8"


def overrides(name: str) -> list[str]:
    if not name.startswith(("omniglot", "cifar", "mixture")):
        return [*SHORT, *(FEW_STEPS if "10w20s" in name else [])]
    width = NARROW.replace("args.", "args.args.") if name.endswith("mmsup") else NARROW
    return [*SHORT, *GLYPHS, width]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_runs_and_moves_what_it_learns(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path, overrides(path.stem))
    assert recipe.name == path.stem
    run = train(recipe, tmp_path / "run", workers=1)
    made = checkpoint.read(run.last)
    assert made.iteration == 2
    assert made.provenance["progress"]["skipped"] == 0
    start = build(recipe).start()
    # Trajectories begin anywhere: they move the rates alone.
    before, after = (
        (start.meta, made.meta) if recipe.train.strategy == "unrolled" else (start.params, made.params)
    )
    assert any((after[n] != t.numpy()).any() for n, t in before.items())


def test_the_page_of_methods_is_current() -> None:
    page = ROOT / "docs" / "methods.md"
    assert page.read_text(encoding="utf-8") == methods.document(), (
        "python -m regrow_trainer.methods > docs/methods.md"
    )


def test_what_has_a_recipe_for_glyphs_has_one_for_omniglot() -> None:
    kinds = ("glyphs-5w1s", "omniglot-5w1s")
    glyphs, omniglot = (
        {m.name for m in methods.METHODS if any(n.startswith(kind) for n in m.recipes)} for kind in kinds
    )
    assert glyphs == omniglot
    assert len(glyphs) == 11


@pytest.mark.parametrize("name", ["omniglot-5w1s-maml", "omniglot-20w1s-maml"])
def test_a_recipe_for_omniglot_trains_on_omniglot(name: str, tmp_path: Path) -> None:
    try:
        open_source("omniglot:val", rotations="classes")
    except SampleError as error:
        pytest.skip(f"set REGROW_DATA: {error}")
    words = [*SHORT, NARROW, "steps=3"]
    run = train(load_recipe(ROOT / "recipes" / f"{name}.toml", words), tmp_path / "run", workers=1)
    assert checkpoint.read(run.last).steps == 3


def test_every_recipe_belongs_to_one_method() -> None:
    listed = [name for method in methods.METHODS for name in method.recipes]
    # Those of docs/studies.md belong to a person's problem, not to a paper.
    assert sorted(listed) == [path.stem for path in RECIPES if not path.stem.startswith("study-")]
