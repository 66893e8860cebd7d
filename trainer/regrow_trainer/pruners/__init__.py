"""Scores to masks. A pruner is one function in one file that judges weights, and one row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

from torch import Tensor

from regrow.errors import UnsupportedError
from regrow.select import select
from regrow_trainer.tables import follow, parameters_of, path_of
from regrow_trainer.tensors import Tensors

# name -> "module:function"
PRUNERS: dict[str, str] = {
    "anp": "regrow_trainer.pruners.surgeon:anp",
    "fisher": "regrow_trainer.pruners.fisher:fisher",
    "l-obs": "regrow_trainer.pruners.surgeon:l_obs",
    "lamp": "regrow_trainer.pruners.lamp:lamp",
    "m2sgd": "regrow_trainer.pruners.m2sgd:m2sgd",
    "magnitude": "regrow_trainer.pruners.magnitude:magnitude",
    "random": "regrow_trainer.pruners.random:random",
    "taylor": "regrow_trainer.pruners.taylor:taylor",
}

Scope = Literal["layer", "global"]


class Asked(NamedTuple):
    """Which inputs of the layers a pruner wants to see, and how their curvature is to be made."""

    tasks: int
    adapted: bool  # after adaptation to each task, not before
    alpha: float
    recursive: bool
    columns: int  # inputs of a layer per task, at most about that many
    block: int  # columns that are judged together, 0 for all of a layer


@dataclass(frozen=True)
class Evidence:
    """What a pruner may look at. What costs work is computed only if it is called."""

    params: Tensors
    names: tuple[str, ...]  # those that may be pruned
    masks: Tensors  # what earlier rounds left
    seed: int
    gradients: Callable[[Callable[[Tensor], Tensor]], Tensors]  # mean of a function of the meta-gradients
    curvatures: Callable[[Asked], Curvatures]
    rates: Callable[[], Tensors]  # mean rate of every weight after adapting to some tasks

    @property
    def weights(self) -> Tensors:
        """The weights that may be pruned."""
        return {name: self.params[name] for name in self.names}


class Curvatures(Protocol):
    """The curvature of every layer, one per block of each group of its channels."""

    def scores(self, params: Tensors, masks: Tensors) -> Tensors:
        """What removing each weight costs."""

    def repaired(self, params: Tensors, masks: Tensors) -> Tensors:
        """The parameters that make up for what the masks remove."""

    @property
    def nbytes(self) -> int: ...


class Judgement(NamedTuple):
    """One score per weight, none of them negative: the lowest go first. Then, how the others make up for it.

    `held` is how many bytes of state the judgement rests on beside the weights.
    """

    scores: Tensors
    repaired: Callable[[Tensors], Tensors] | None = None
    held: int = 0


class Pruner(Protocol):
    """Its keyword-only parameters are what a recipe's `prune.args` may set."""

    def __call__(self, evidence: Evidence) -> Judgement: ...


def pruner(name: str, args: Mapping[str, Any] | None = None) -> Pruner:
    """Look a pruner up by name or dotted path."""
    path = path_of("pruner", name, PRUNERS)
    found: Pruner = follow("pruner", path)
    options = [n for n, p in parameters_of("pruner", path).items() if p.kind is p.KEYWORD_ONLY]
    wrong = sorted(set(args or {}) - set(options))
    if wrong:
        raise UnsupportedError(
            f"pruner: {name}: found {', '.join(wrong)}; expected arguments: {', '.join(options) or 'none'}"
        )
    return partial(found, **args) if args else found


def prunable(params: Mapping[str, Tensor], spare: Sequence[str] = ()) -> tuple[str, ...]:
    """Weights of two or more dimensions, the classifier spared; biases and norms are too few to matter.

    What turns a context into scales is spared too: before adaptation its input is zero, so no score knows it.
    So is what the patterns of `spare` name.
    """
    shapes = {name: tuple(p.shape) for name, p in params.items()}
    spared = select(shapes, ["@head", *spare]) if shapes else ()
    names = tuple(
        n for n, shape in shapes.items() if len(shape) >= 2 and n not in spared and "film" not in n.split(".")
    )
    if not names:
        raise UnsupportedError(
            f"prune: none of {', '.join(params)} can be pruned, expected a weight of two or more dimensions "
            "before the classifier; use a deeper backbone or spare less"
        )
    return names


__all__ = ["PRUNERS", "Asked", "Evidence", "Judgement", "Pruner", "Scope", "prunable", "pruner"]
