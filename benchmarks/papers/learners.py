"""Fresh networks, trained side by side by an optimiser that may have been learned, as in M2SGD's tables.

Learners of one setting are told apart by their seed alone. On a GPU where there is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from regrow import checkpoint
from regrow.episodes import open_classes
from regrow_trainer import backbones
from regrow_trainer.device import pick, put
from regrow_trainer.learner import Learner, Policy, initial_params, make_learner
from regrow_trainer.recipe import parse_recipe
from regrow_trainer.rules import Rule
from regrow_trainer.rules.dmsgd import dmsgd
from regrow_trainer.rules.meta_sgd import meta_sgd
from regrow_trainer.tensors import Tensors, to_tensors, zero
from regrow_trainer.training import train

BATCH, WARM_UP = 32, 300
_AT_ONCE = 1000  # images that are scored together


@dataclass(frozen=True, eq=False)
class Setting:
    """Which network learns what; `args` are the backbone's."""

    source: str
    backbone: str
    args: Mapping[str, Any]
    shape: tuple[int, ...]
    held_back: int  # training images of each of the ten classes that rates are chosen on
    batch_norm: Policy = "none"
    support: int = 320  # images of each class that a trajectory has
    trajectory: int = 100  # steps

    @property
    def recipe(self) -> dict[str, Any]:
        """How a rule is trained: one trajectory, the rule moving after every five steps."""
        parts = ("train", "train", "test")
        kinds = dict(zip(("train", "validation", "test"), (f"{self.source}:{p}" for p in parts), strict=True))
        return {
            "name": self.source.replace("_", "-"),
            "data": {**kinds, "n_way": 10, "k_shot": self.support, "queries": 10},
            "input": {"mean": 0.5, "std": 0.5},
            "backbone": {"name": self.backbone, "args": dict(self.args)},
            "learner": {"steps": self.trajectory, "batch_norm": self.batch_norm},
            "train": {
                **{"strategy": "unrolled", "strategy_args": {"window": 5, "batch": BATCH}, "rule_lr": 1e-3},
                **{"iterations": 1, "tasks": 1, "schedule": "constant"},
            },
            "validation": {"every": 100000, "episodes": 1, "queries": 1},
        }

    def module(self, seed: int = 0) -> nn.Module:
        """The network with its initial weights."""
        return backbones.build(*backbones.define(self.backbone, dict(self.args), self.shape, 10), seed)

    def fresh(self, seed: int = 0) -> Tensors:
        """A learner's first weights."""
        return put(initial_params(self.module(seed)), pick())

    def learner(self, rule: Rule) -> Learner:
        module = self.module().to(pick())
        return make_learner(module, rule, ("*",), 1, "cross_entropy", self.batch_norm)


class Samples(NamedTuple):
    """Inputs within -1 and 1, and labels."""

    x: Tensor
    y: Tensor


class Data(NamedTuple):
    train: Samples
    held_back: Samples  # of the training images: what a rate is chosen on
    test: Samples


class Optimiser(NamedTuple):
    """A rule with its tensors, and the positions that may be other than zero."""

    rule: Rule
    meta: Tensors
    masks: Mapping[str, Tensor] = MappingProxyType({})
    random: float = 0.0  # a share that is removed at random, of every learner other positions


class Outcome(NamedTuple):
    """Per learner: shares right on test and on held-back samples, and of weights that end as zero."""

    test: list[float]
    held_back: list[float]
    zeros: list[float]
    cpu_seconds: float


@cache
def data(setting: Setting) -> Data:
    """The three parts, every class equally often."""
    kept, found = setting.held_back, []
    for part, sides in (("train", (slice(None, -kept), slice(-kept, None))), ("test", (slice(None),))):
        source = open_classes(f"{setting.source}:{part}")
        each = [torch.from_numpy(source.take(c, np.arange(source.samples(c)))) for c in range(10)]
        for side in sides:
            x = torch.cat([images[side] for images in each])
            y = torch.cat([torch.full((len(images[side]),), c) for c, images in enumerate(each)])
            found.append(Samples((x - 0.5) / 0.5, y))
    return put(Data(*found), pick())


def grown(
    setting: Setting, optimiser: Optimiser, given: Samples, steps: int, seeds: range
) -> tuple[Tensors, Tensors]:
    """Weights and rule states of learners trained side by side, one per seed."""
    learner = setting.learner(optimiser.rule)
    each = [dict(optimiser.masks) or _drawn(setting, optimiser.random, seed) for seed in seeds]
    begun = [zero(m, setting.fresh(seed)) for m, seed in zip(each, seeds, strict=True)]
    params, masks = _stacked(begun), _stacked(each)
    state = _stacked([learner.initial_state(p, optimiser.meta) for p in begun])
    step = vmap(_step(learner, optimiser.meta))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    order = torch.stack([torch.randint(len(given.x), (steps * BATCH,), generator=g) for g in generators])
    order = order.to(given.x.device)
    with torch.no_grad():
        for number in range(steps):
            rows = order[:, number * BATCH : (number + 1) * BATCH]
            params, state = step(params, state, masks, given.x[rows], given.y[rows])
    return params, state


def _step(learner: Learner, meta: Tensors) -> Callable[..., tuple[Tensors, Tensors]]:
    def step(
        params: Tensors, state: Tensors, masks: Tensors, x: Tensor, y: Tensor
    ) -> tuple[Tensors, Tensors]:
        # None of these rules reads which step it is.
        return learner.apply(params, meta, masks, learner.gradients(params, x, y), state, 0)

    return step


def _stacked(parts: list[Tensors]) -> Tensors:
    return {n: torch.stack([part[n] for part in parts]) for n in parts[0]}


def _drawn(setting: Setting, share: float, seed: int) -> Tensors:
    if not share:
        return {}
    # Another seed than the weights': the same stream would keep the large ones.
    generator = torch.Generator().manual_seed(seed + 1_000_000)
    fresh = setting.fresh(seed)
    return {n: (torch.rand(p.shape, generator=generator) >= share).to(p.device) for n, p in fresh.items()}


def outcome(setting: Setting, optimiser: Optimiser, steps: int, seeds: range) -> Outcome:
    """How learners end up that an optimiser trains, one per seed."""
    began, parts = time.process_time(), data(setting)
    params, _ = grown(setting, optimiser, parts.train, steps, seeds)
    flat = torch.cat([p.reshape(len(seeds), -1) for p in params.values()], 1)
    zeros: list[float] = (flat == 0).double().mean(1).tolist()
    test, held_back = (_right(setting, params, on) for on in (parts.test, parts.held_back))
    return Outcome(test, held_back, zeros, time.process_time() - began)


def _right(setting: Setting, params: Tensors, on: Samples) -> list[float]:
    # In an order of its own: a norm that takes its batch's statistics must not see one class alone.
    order = torch.randperm(len(on.y), generator=torch.Generator().manual_seed(0)).to(on.y.device)
    module, answers = setting.module().to(on.x.device), []
    with torch.no_grad():
        for rows in torch.split(order, _AT_ONCE):
            found = vmap(lambda p, x: functional_call(module, p, (x,)), (0, None))(params, on.x[rows])
            answers.append(found.argmax(-1) == on.y[rows])
    shares: list[float] = torch.cat(answers, 1).double().mean(1).tolist()
    return shares


def trained(setting: Setting, rule: str, trajectories: int, seed: int, folder: Path) -> Tensors:
    """A rule's tensors after it was trained along so many trajectories, all of it drawn from `seed`."""
    words = [f"rule.name={rule}", f"train.iterations={trajectories}", f"seed={seed}"]
    words.append(f"rule.args.seed={seed}" if rule == "dmsgd" else "rule.args.lr=1e-3")
    last = folder / f"{rule}-{trajectories}-{seed}" / "last.safetensors"
    if not last.exists() or checkpoint.read(last).iteration < trajectories:
        resume, recipe = last.exists(), parse_recipe(setting.recipe, setting.source, words)
        train(recipe, last.parent, workers=1, label=last.parent.name, resume=resume, force=not resume)
    return put(to_tensors(checkpoint.read(last).meta), pick())


def frozen(setting: Setting, meta: Tensors, xi: float) -> Optimiser:
    """Meta-SGD with the rates, and the mask, that a DMSGD learner's warm-up ends with."""
    _, state = grown(setting, Optimiser(dmsgd(), meta), data(setting).train, WARM_UP, range(1))
    rates = {n.removeprefix("rate."): t[0] for n, t in state.items() if n.startswith("rate.")}
    masks = {n: rate > xi for n, rate in rates.items()}
    return Optimiser(meta_sgd(), {f"rate.{n}": rate for n, rate in rates.items()}, masks)
