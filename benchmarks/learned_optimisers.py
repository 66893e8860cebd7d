"""M2SGD's table for an MLP on Fashion-MNIST, scaled down, with the controls that the paper leaves out.

    REGROW_DATA=DIR python -m benchmarks.learned_optimisers > benchmarks/results/learned_optimisers.json

Fresh learners (784-32-10, batches of 32) are trained by gradient descent and by optimisers that were
learned: as published, from one trajectory of 100 steps, and from more of them. Controls: the same optimisers
before they were trained, random masks as dense as the learned ones, and gradient descent at the best rate of
a sweep, chosen on samples held back from training. About six minutes on an idle core; finished rows under
`--out` are reused.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from regrow import checkpoint
from regrow.bench.machine import describe
from regrow.episodes import open_classes
from regrow.evaluate import Evaluation
from regrow_trainer import backbones
from regrow_trainer.learner import Learner, initial_params, make_learner
from regrow_trainer.recipe import parse_recipe
from regrow_trainer.rules import Rule
from regrow_trainer.rules.dmsgd import dmsgd, m2sgd
from regrow_trainer.rules.meta_sgd import meta_sgd
from regrow_trainer.rules.momentum import momentum
from regrow_trainer.tensors import Tensors, to_tensors, zero
from regrow_trainer.training import train

BATCH, HELD_BACK, WARM_UP = 32, 300, 300
PATH, ARGS = "regrow_trainer.backbones.mlp:MLP", {"input_shape": [784], "outputs": 10, "hidden": [32]}
RATES = (0.001, 0.01, 0.03, 0.1, 0.3)
THRESHOLDS = (0.0, 0.1, 0.2)
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


def data() -> Data:
    """Fashion-MNIST in three parts, every class equally often."""
    found = []
    for part, sides in (
        ("train", (slice(None, -HELD_BACK), slice(-HELD_BACK, None))),
        ("test", (slice(None),)),
    ):
        source = open_classes(f"fashion_mnist:{part}")
        each = [torch.from_numpy(source.take(c, _all(source.samples(c)))) for c in range(10)]
        for side in sides:
            x = torch.cat([images[side] for images in each]).flatten(1)
            y = torch.cat([torch.full((len(images[side]),), c) for c, images in enumerate(each)])
            found.append(Samples((x - 0.5) / 0.5, y))
    return Data(*found)


def _all(count: int) -> Any:
    return torch.arange(count).numpy()


class Row(NamedTuple):
    """One optimiser: a rule with its tensors, and the positions that may be other than zero."""

    rule: Rule
    meta: Tensors
    masks: Mapping[str, Tensor] = MappingProxyType({})
    random: float = 0.0  # a share that is removed at random, of every learner other positions


def fresh(seed: int) -> Tensors:
    return initial_params(backbones.build(PATH, ARGS, seed))


def learners(row: Row, given: Samples, steps: int, seeds: range) -> tuple[Tensors, Tensors]:
    """Weights and rule states of learners trained side by side, one per seed."""
    learner = make_learner(backbones.build(PATH, ARGS, 0), row.rule, ("*",), 1, "cross_entropy", "none")
    masks = [dict(row.masks) or _drawn(row.random, seed) for seed in seeds]
    begun = [zero(m, fresh(seed)) for m, seed in zip(masks, seeds, strict=True)]
    params = _stacked(begun)
    state = _stacked([learner.initial_state(p, row.meta) for p in begun])
    step = vmap(_step(learner, row.meta))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    order = torch.stack([torch.randint(len(given.x), (steps * BATCH,), generator=g) for g in generators])
    with torch.no_grad():
        for number in range(steps):
            rows = order[:, number * BATCH : (number + 1) * BATCH]
            params, state = step(params, state, _stacked(masks), given.x[rows], given.y[rows])
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


def scores(params: Tensors, on: Samples) -> Evaluation:
    """Accuracy of every learner."""
    module = backbones.build(PATH, ARGS, 0)
    with torch.no_grad():
        answers = vmap(lambda p: torch.func.functional_call(module, p, (on.x,)))(params)
    return Evaluation((answers.argmax(-1) == on.y).double().mean(1).numpy(), "accuracy")


def measured(row: Row, parts: Data, steps: int, count: int) -> dict[str, Any]:
    """Accuracy on test and on held-back samples, the share of weights that end as zero, and steps' cost."""
    params, _ = learners(row, parts.train, steps, range(1000, 1000 + count))
    flat = torch.cat([p.reshape(count, -1) for p in params.values()], 1)
    made = scores(params, parts.test).to_json()
    return {
        **made,
        "held back": scores(params, parts.held_back).mean,
        "zeros": float((flat == 0).double().mean()),
    }


def optimiser(rule: str, trajectories: int, out: Path, settings: list[str]) -> Tensors:
    """A rule's tensors after it was trained along trajectories."""
    words = [f"rule.name={rule}", f"train.iterations={trajectories}", *settings]
    folder = out / f"{rule}-{trajectories}"
    last = folder / "last.safetensors"
    if not last.exists() or checkpoint.read(last).iteration < trajectories:
        resume, recipe = last.exists(), parse_recipe(RECIPE, "fashion", words)
        train(recipe, folder, workers=1, label=folder.name, resume=resume, force=not resume)
    return to_tensors(checkpoint.read(last).meta)


def frozen(meta: Tensors, xi: float, parts: Data) -> Row:
    """Meta-SGD with the rates, and the mask, that a learner's warm-up ends with."""
    _, state = learners(Row(dmsgd(), meta), parts.train, WARM_UP, range(1))
    rates = {n.removeprefix("rate."): t[0] for n, t in state.items() if n.startswith("rate.")}
    masks = {n: rate > xi for n, rate in rates.items()}
    return Row(meta_sgd(), {f"rate.{n}": rate for n, rate in rates.items()}, masks)


def _row(rule: Callable[[], Rule], meta: Callable[[], Tensors]) -> Row:
    return Row(rule(), meta())


def _frozen(meta: Callable[[], Tensors], xi: float, parts: Data) -> Row:
    return frozen(meta(), xi, parts)


def _untrained() -> Tensors:
    return dmsgd().meta(fresh(0))


def rows(parts: Data, out: Path, more: int) -> dict[str, Callable[[], Row]]:
    """Every row by name; what it takes is made when it is first needed."""
    made: dict[str, Callable[[], Row]] = {f"sgd {lr:g}": partial(_sgd, lr) for lr in RATES}
    rate = ["rule.args.lr=1e-3"]
    for name, count in (("published budget", 1), (f"{more} trajectories", more)):
        trained = partial(optimiser, "dmsgd", count, out, [])
        made[f"meta-sgd, {name}"] = partial(_row, meta_sgd, partial(optimiser, "meta_sgd", count, out, rate))
        made[f"dmsgd, {name}"] = partial(_row, dmsgd, trained)
        for xi in THRESHOLDS:
            made[f"m2sgd {xi:g}, {name}"] = partial(_row, partial(m2sgd, xi), trained)
            made[f"m2sgd {xi:g}, {name}, frozen"] = partial(_frozen, trained, xi, parts)
    made["dmsgd, untrained"] = partial(_row, dmsgd, _untrained)
    for xi in THRESHOLDS:
        made[f"m2sgd {xi:g}, untrained"] = partial(_row, partial(m2sgd, xi), _untrained)
        made[f"m2sgd {xi:g}, untrained, frozen"] = partial(_frozen, _untrained, xi, parts)
    return made


def _sgd(lr: float) -> Row:
    rule = momentum(lr)
    return Row(rule, rule.meta(fresh(0)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000, help="of every learner (published: 10,000)")
    parser.add_argument("--learners", type=int, default=5, help="per row (published: 20)")
    parser.add_argument("--trajectories", type=int, default=20, help="beside the published one")
    parser.add_argument("--out", type=Path, default=Path("runs/learned_optimisers"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    parts = data()

    def finished(name: str, make: Callable[[], Row]) -> dict[str, Any]:
        path = (
            args.out / f"{args.steps}x{args.learners}" / f"{name.replace(', ', '-').replace(' ', '_')}.json"
        )
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(measured(make(), parts, args.steps, args.learners)))
        found: dict[str, Any] = json.loads(path.read_text())
        sys.stderr.write(f"{name}: {100 * found['mean']:.1f} %, {100 * found['zeros']:.1f} % zeros\n")
        return found

    results = {name: finished(name, make) for name, make in rows(parts, args.out, args.trajectories).items()}
    best = max((name for name in results if name.startswith("sgd")), key=lambda n: results[n]["held back"])
    rule, meta = momentum(float(best.split()[1])), _sgd(float(best.split()[1])).meta
    for xi in THRESHOLDS:
        share = results[f"m2sgd {xi:g}, {args.trajectories} trajectories, frozen"]["zeros"]
        name = f"{best}, random mask as m2sgd {xi:g}"
        results[name] = finished(name, partial(Row, rule, meta, random=share))
    setting = {"steps": args.steps, "learners": args.learners, "batch": BATCH, "warm_up": WARM_UP}
    record = {
        "setting": {**setting, "best rate": best},
        "results": results,
        "machine": describe(),
    }
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
