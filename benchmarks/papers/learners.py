"""Fresh networks for Fashion-MNIST, trained side by side by an optimiser that may have been learned.

Networks of 784-32-10 units and batches of 32, as in M2SGD's table 3; they are told apart by their seed alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from regrow import checkpoint
from regrow.episodes import open_classes
from regrow_trainer import backbones
from regrow_trainer.learner import Learner, initial_params, make_learner
from regrow_trainer.recipe import parse_recipe
from regrow_trainer.rules import Rule
from regrow_trainer.rules.dmsgd import dmsgd
from regrow_trainer.rules.meta_sgd import meta_sgd
from regrow_trainer.tensors import Tensors, to_tensors, zero
from regrow_trainer.training import train

BATCH, HELD_BACK, WARM_UP = 32, 300, 300
PATH, ARGS = "regrow_trainer.backbones.mlp:MLP", {"input_shape": [784], "outputs": 10, "hidden": [32]}
RECIPE: dict[str, Any] = {
    "name": "fashion",
    "data": {
        **{"train": "fashion_mnist:train", "validation": "fashion_mnist:train", "test": "fashion_mnist:test"},
        **{"n_way": 10, "k_shot": 320, "queries": 10},
    },
    "input": {"mean": 0.5, "std": 0.5},
    "backbone": {"name": "mlp", "args": {"hidden": [32]}},
    "learner": {"steps": 100, "batch_norm": "none"},
    "train": {
        **{"strategy": "unrolled", "strategy_args": {"window": 5, "batch": BATCH}, "rule_lr": 1e-3},
        **{"iterations": 1, "tasks": 1, "schedule": "constant"},
    },
    "validation": {"every": 100000, "episodes": 1, "queries": 1},
}


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


def data(held_back: int = HELD_BACK) -> Data:
    """Fashion-MNIST in three parts, every class equally often."""
    found = []
    for part, sides in (
        ("train", (slice(None, -held_back), slice(-held_back, None))),
        ("test", (slice(None),)),
    ):
        source = open_classes(f"fashion_mnist:{part}")
        each = [torch.from_numpy(source.take(c, torch.arange(source.samples(c)).numpy())) for c in range(10)]
        for side in sides:
            x = torch.cat([images[side] for images in each]).flatten(1)
            y = torch.cat([torch.full((len(images[side]),), c) for c, images in enumerate(each)])
            found.append(Samples((x - 0.5) / 0.5, y))
    return Data(*found)


def fresh(seed: int) -> Tensors:
    """A network's first weights."""
    return initial_params(backbones.build(PATH, ARGS, seed))


def grown(optimiser: Optimiser, given: Samples, steps: int, seeds: range) -> tuple[Tensors, Tensors]:
    """Weights and rule states of learners trained side by side, one per seed."""
    learner = make_learner(backbones.build(PATH, ARGS, 0), optimiser.rule, ("*",), 1, "cross_entropy", "none")
    each = [dict(optimiser.masks) or _drawn(optimiser.random, seed) for seed in seeds]
    begun = [zero(m, fresh(seed)) for m, seed in zip(each, seeds, strict=True)]
    params, masks = _stacked(begun), _stacked(each)
    state = _stacked([learner.initial_state(p, optimiser.meta) for p in begun])
    step = vmap(_step(learner, optimiser.meta))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    order = torch.stack([torch.randint(len(given.x), (steps * BATCH,), generator=g) for g in generators])
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


def _drawn(share: float, seed: int) -> Tensors:
    if not share:
        return {}
    # Another seed than the weights': the same stream would keep the large ones.
    generator = torch.Generator().manual_seed(seed + 1_000_000)
    return {n: torch.rand(p.shape, generator=generator) >= share for n, p in fresh(seed).items()}


def outcome(optimiser: Optimiser, parts: Data, steps: int, seeds: range) -> Outcome:
    """How learners end up that an optimiser trains, one per seed."""
    began = time.process_time()
    params, _ = grown(optimiser, parts.train, steps, seeds)
    flat = torch.cat([p.reshape(len(seeds), -1) for p in params.values()], 1)
    zeros: list[float] = (flat == 0).double().mean(1).tolist()
    test, held_back = (_right(params, on) for on in (parts.test, parts.held_back))
    return Outcome(test, held_back, zeros, time.process_time() - began)


def _right(params: Tensors, on: Samples) -> list[float]:
    module = backbones.build(PATH, ARGS, 0)
    with torch.no_grad():
        answers = vmap(lambda p: functional_call(module, p, (on.x,)))(params)
    shares: list[float] = (answers.argmax(-1) == on.y).double().mean(1).tolist()
    return shares


def trained(rule: str, trajectories: int, seed: int, folder: Path) -> Tensors:
    """A rule's tensors after it was trained along so many trajectories, all of it drawn from `seed`."""
    words = [f"rule.name={rule}", f"train.iterations={trajectories}", f"seed={seed}"]
    words.append(f"rule.args.seed={seed}" if rule == "dmsgd" else "rule.args.lr=1e-3")
    last = folder / f"{rule}-{trajectories}-{seed}" / "last.safetensors"
    if not last.exists() or checkpoint.read(last).iteration < trajectories:
        resume, recipe = last.exists(), parse_recipe(RECIPE, "fashion", words)
        train(recipe, last.parent, workers=1, label=last.parent.name, resume=resume, force=not resume)
    return to_tensors(checkpoint.read(last).meta)


def frozen(meta: Tensors, xi: float, parts: Data) -> Optimiser:
    """Meta-SGD with the rates, and the mask, that a DMSGD learner's warm-up ends with."""
    _, state = grown(Optimiser(dmsgd(), meta), parts.train, WARM_UP, range(1))
    rates = {n.removeprefix("rate."): t[0] for n, t in state.items() if n.startswith("rate.")}
    masks = {n: rate > xi for n, rate in rates.items()}
    return Optimiser(meta_sgd(), {f"rate.{n}": rate for n, rate in rates.items()}, masks)
