"""Meta-train and prune learners. Needs torch; loads it only when something here is used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regrow_trainer.evaluate import evaluate
    from regrow_trainer.learner import Learner
    from regrow_trainer.recipe import Recipe, load_recipe
    from regrow_trainer.rules import Rule
    from regrow_trainer.training import train

_HOMES = {
    "Learner": "learner",
    "Recipe": "recipe",
    "Rule": "rules",
    "evaluate": "evaluate",
    "load_recipe": "recipe",
    "train": "training",
}
__all__ = ["Learner", "Recipe", "Rule", "evaluate", "load_recipe", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
