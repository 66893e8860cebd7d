"""From a recipe or a checkpoint to a learner that can run, and back to the fields a checkpoint needs."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from regrow.checkpoint import Checkpoint
from regrow.episodes import Source, open_source
from regrow.errors import UnsupportedError
from regrow.manifest import InputSpec
from regrow.select import select
from regrow_trainer import backbones, rules
from regrow_trainer.learner import Learner, Loss, Policy, initial_params, make_learner
from regrow_trainer.pruners import prunable, pruner
from regrow_trainer.recipe import Recipe, parse_recipe
from regrow_trainer.state import State, extra_of, fresh, progress_of
from regrow_trainer.strategies import Strategy, strategy
from regrow_trainer.tables import path_of
from regrow_trainer.tensors import Tensors, to_arrays, to_tensors


@dataclass(frozen=True)
class Built:
    """A recipe brought to life: what runs, and how a checkpoint names it."""

    recipe: Recipe
    learner: Learner
    strategy: Strategy
    backbone: dict[str, Any]
    rule: dict[str, Any]
    input: InputSpec
    outputs: int
    held: tuple[str, ...]  # parameters the outer loop leaves as they are

    @property
    def in_training(self) -> Learner:
        """The learner whose network computes in the recipe's type; validation and devices have fp32."""
        train = self.recipe.train
        compute = torch.bfloat16 if train.dtype == "bf16" else None
        return replace(self.learner, compute=compute, rule_learns=train.rule_lr > 0)

    def start(self) -> State:
        """The initial state: the backbone's own weights, the rule's own rates."""
        params = initial_params(self.learner.module)
        return fresh(params, self.meta(params), {})

    def meta(self, params: Tensors) -> Tensors:
        """The rule's meta tensors for these weights."""
        return self.learner.rule.meta({name: params[name] for name in self.learner.adaptable})


def build(recipe: Recipe) -> Built:
    """Everything a recipe names, found and checked against its data before anything runs."""
    source = open_data(recipe, recipe.data.train)
    check_data(recipe, source)
    if recipe.prune is not None:
        pruner(recipe.prune.pruner, recipe.prune.args)
    shape = tuple(source.sample_shape)
    outputs = recipe.data.n_way if source.task == "classification" else 1
    path, args = backbones.define(recipe.backbone.name, recipe.backbone.args, shape, outputs)
    rule: dict[str, Any] = {"path": path_of("rule", recipe.rule.name, rules.RULES), "args": recipe.rule.args}
    spec = InputSpec(
        shape=shape,
        kind="image" if len(shape) == 3 else "vector",
        mean=float(recipe.input.mean),
        std=float(recipe.input.std),
        invert=recipe.input.invert,
    )
    part = recipe.learner
    learner = make_learner(
        backbones.build(path, args, recipe.seed),
        rules.build(rule["path"], rule["args"]),
        tuple(part.adaptable),
        part.steps,
        part.loss,
        part.batch_norm,
    )
    named = {"path": path, "args": args}
    train = recipe.train
    estimate = strategy(train.strategy, train.strategy_args, train.steps, shared=train.multi_step > 0)
    shapes = {name: tuple(p.shape) for name, p in learner.module.named_parameters()}
    held = select(shapes, train.hold) if train.hold else ()
    built = Built(recipe, learner, estimate, named, rule, spec, outputs, held)
    _check_device(built)
    return built


def rebuild(checkpoint: Checkpoint, place: str) -> Built:
    """The same from a checkpoint, its recipe being in it, as the device will adapt."""
    built = build(parse_recipe(checkpoint.recipe, place))
    shapes = {name: array.shape for name, array in checkpoint.params.items()}
    return replace(built, learner=replace(built.learner, adaptable=select(shapes, checkpoint.adaptable)))


def moves(checkpoint: Checkpoint) -> Tensors:
    """True where a device may move a masked position."""
    masks = to_tensors(checkpoint.masks)
    return {name: ~mask for name, mask in masks.items()} if checkpoint.update == "pruned" else masks


def device_patterns(built: Built) -> tuple[str, ...]:
    """What adapts on the device: as in training, unless pruning reopens what it removed."""
    plan, trained = built.recipe.prune, tuple(built.recipe.learner.adaptable)
    if plan is None or plan.device == "kept":
        return trained
    if plan.device == "plus_unmasked":
        return ("*",)
    pruned = prunable(dict(built.learner.module.named_parameters()), plan.spare)
    return pruned if plan.device == "strict" else (*pruned, "@head")


def _check_device(built: Built) -> None:
    """Rates of a rule that belong to single parameters fit only those it was trained with."""
    params = initial_params(built.learner.module)
    shapes = {name: tuple(p.shape) for name, p in params.items()}
    chosen = select(shapes, device_patterns(built))
    make = built.learner.rule.meta
    sets = [make({n: params[n] for n in names}) for names in (built.learner.adaptable, chosen)]
    one, other = ({n: t.shape for n, t in meta.items()} for meta in sets)
    if one != other:
        raise UnsupportedError(
            f"recipe {built.recipe.name}: prune.device adapts other parameters than the rule "
            f"{built.recipe.rule.name} has rates for, expected the same; use the rule sgd or device = 'kept'"
        )


def open_data(recipe: Recipe, name: str) -> Source:
    """A source of the recipe."""
    return open_source(name, **recipe.data.args)


def check_data(recipe: Recipe, source: Source) -> None:
    """The loss and the ways must fit the task, or training would fail later with torch's words."""
    wanted = "cross_entropy" if source.task == "classification" else "mse"
    if recipe.learner.loss != wanted:
        raise UnsupportedError(
            f"recipe {recipe.name}: learner.loss is {recipe.learner.loss!r}, expected {wanted!r} for the "
            f"{source.task} source {recipe.data.train!r}; change one of them"
        )


def to_checkpoint(built: Built, state: State, origin: dict[str, Any], *, resumable: bool) -> Checkpoint:
    """A checkpoint of a state; only a resumable one carries optimiser and generator."""
    recipe = built.recipe
    loss: Loss = built.learner.loss
    policy: Policy = built.learner.batch_norm
    return Checkpoint(
        backbone=built.backbone,
        rule=built.rule,
        adaptable=device_patterns(built),
        steps=built.learner.steps,
        loss=loss,
        batch_norm=policy,
        input=built.input,
        n_out=built.outputs,
        params=to_arrays(state.params),
        masks=to_arrays(state.masks),
        meta=to_arrays(state.meta),
        extra=extra_of(state) if resumable else {},
        provenance=provenance(built, state, origin),
        recipe=recipe.model_dump(mode="json", exclude_none=True),
        iteration=state.iteration,
        update="kept" if recipe.prune is None or recipe.prune.device == "kept" else "pruned",
    )


def provenance(built: Built, state: State, origin: dict[str, Any]) -> dict[str, Any]:
    """How these weights came to be, for people and for resuming."""
    recipe = built.recipe
    return {
        "method": f"{recipe.train.strategy} + {recipe.rule.name}",
        "recipe": recipe.name,
        "data": recipe.data.model_dump(mode="json"),
        "seed": recipe.seed,
        "sparsity": sparsity_of(state.masks),
        "origin": origin,
        "meta_iterations": origin.get("meta_iterations", 0) + state.iteration,
        "progress": progress_of(state),
        "versions": {
            "regrow": version("regrow"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def sparsity_of(masks: Tensors) -> float:
    """The pruned share of all masked tensors."""
    size = sum(m.numel() for m in masks.values())
    kept = sum(int(m.sum()) for m in masks.values())
    return 1 - kept / size if size else 0.0


__all__ = ["Built", "build", "check_data", "moves", "open_data", "rebuild", "to_checkpoint"]
