"""The methods side by side: each recipe trained for equally many iterations, then the same unseen episodes.

    python -m benchmarks.methods > benchmarks/results/methods.json
    python -m regrow_trainer.methods > docs/methods.md

About an hour of one core. Interrupted, the same command goes on: finished runs under `--out` are reused,
others are resumed. `benchmarks.methods_expected` holds what the papers lead one to expect; a paired bootstrap
over episodes says what of it is so here, with the scores of an episode averaged over `--seeds`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.methods_expected import CONTENDERS, EXPECTED, MIXES, Contender, Expected
from regrow import checkpoint
from regrow.bench.machine import describe
from regrow.checkpoint import Checkpoint
from regrow.episodes import open_source, sample
from regrow.evaluate import Evaluation, Metric
from regrow_trainer.batching import Workers
from regrow_trainer.build import rebuild
from regrow_trainer.compare import difference
from regrow_trainer.evaluate import Sizes
from regrow_trainer.feed import to_task
from regrow_trainer.learner import Learner, Task
from regrow_trainer.multi import evaluate_routers
from regrow_trainer.tensors import to_tensors

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
# kind of data -> recipes, and iterations of each
KINDS: dict[str, tuple[str, int]] = {"sine": ("sine-*", 5000), "glyphs": ("glyphs-5w1s-*", 600)}
MULTI, MULTI_ITERATIONS = "sine-multi-maml", 2000
# Who is closer than that to another, in points of accuracy or in parts of the error, is as good.
AS_GOOD = {"glyphs": 0.01, "sine": 0.05}

Curve = list[Evaluation]


def trained(name: str, folder: Path, settings: Mapping[str, Any]) -> Checkpoint:
    """The recipe's best checkpoint: reused where the run is finished, resumed where it is not."""
    # A meta-batch at once, on one core: runs that share a machine then take what they take alone.
    often = {"train.chunk": 32, "validation.every": max(1, settings["train.iterations"] // 5)}
    settings = {**settings, **often}
    words = ["--workers", "1"]
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    last = folder / "last.safetensors"
    if not last.exists() or checkpoint.read(last).iteration < settings["train.iterations"]:
        begun = ["--resume"] if last.exists() else []
        command = [sys.executable, "-m", "regrow", "train", str(RECIPES / f"{name}.toml"), "-o", str(folder)]
        subprocess.run([*command, *words, *begun], check=True, stdout=sys.stderr)
    return checkpoint.read(folder / "best.safetensors")


def contenders(kind: str) -> dict[str, Contender]:
    """Every recipe of a kind as it is, and what is compared beside."""
    pattern = KINDS[kind][0]
    prefix = pattern.removesuffix("*")
    names = sorted(path.stem for path in RECIPES.glob(f"{pattern}.toml") if path.stem != MULTI)
    return {name.removeprefix(prefix): Contender(name) for name in names} | CONTENDERS[kind]


def measured(saved: Checkpoint, options: argparse.Namespace) -> Curve:
    """The scores before the first step and after each, on unseen episodes."""
    data, built = saved.recipe["data"], rebuild(saved, "checkpoint")
    source = open_source(data["test"], **data.get("args", {}))
    sizes = (data["n_way"], data["k_shot"], options.queries, 0)
    params, meta = to_tensors(saved.params), to_tensors(saved.meta)

    def score(learner: Learner, task: Task) -> Tensor:
        path = learner.path(params, meta, {}, task.support_x, task.support_y, saved.steps)
        scores = [learner.query_scores(point, task) for point in path]
        return torch.stack([s.loss if learner.loss == "mse" else s.accuracy for s in scores])

    tasks = to_task([sample(source, *sizes, i) for i in range(options.episodes)], built.recipe.input)
    with torch.no_grad(), Workers(built.learner, "auto", 1) as pool:
        columns = pool.each(score, tasks).double().numpy().T
    metric: Metric = "mse" if source.task == "regression" else "accuracy"
    return [Evaluation(column, metric) for column in columns]


def scored(kind: str, name: str, who: Contender, options: argparse.Namespace) -> list[Curve]:
    """A curve per seed: as many as are asked for, or as the contender is given."""
    iterations = getattr(options, kind)
    curves = []
    for seed in range(min(options.seeds, who.seeds)):
        settings = {**who.settings, "train.iterations": iterations, "seed": seed}
        folder = options.out / f"{kind} {name} {seed}".replace(" ", "-").replace(",", "")
        curves.append(measured(trained(who.recipe, folder, settings), options))
    return curves


def mean(curves: list[Curve], at: int = -1) -> Evaluation:
    """An episode's score after so many steps, averaged over seeds."""
    every = [curve[at] for curve in curves]
    return Evaluation(np.mean([e.scores for e in every], 0), every[0].metric)


def order(expected: Expected, curves: Mapping[str, list[Curve]], as_good: float) -> dict[str, Any]:
    """How the two differ, over all seeds that both have and for each of them; what it comes to, in a word."""
    first, second = curves[expected.better], curves[expected.worse]
    seeds = min(len(first), len(second))
    at = expected.steps if expected.steps is not None else -1
    ahead = 1.0 if first[0][0].metric == "accuracy" else -1.0
    gap = difference(mean(second[:seeds], at), mean(first[:seeds], at))
    each = [first[s][at].mean - second[s][at].mean for s in range(seeds)]
    low, high = sorted((ahead * gap.low, ahead * gap.high))
    reach = as_good if ahead > 0 else as_good * mean(second[:seeds], at).mean
    if expected.relation == "as good as":
        found = "holds" if low > -reach else "open" if high > -reach else "does not hold"
    else:
        sure = low > 0 and min(ahead * e for e in each) > 0
        found = "holds" if sure else "open" if high >= 0 else "does not hold"
    told = {key: value for key, value in expected._asdict().items() if value not in (None, "")}
    return {**told, "found": found, "percent": ahead > 0, "seeds": each, **gap.to_json()}


def compared(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """All contenders of one kind of data, and which of the expected orders hold."""
    iterations = getattr(options, kind)
    curves: dict[str, list[Curve]] = {}
    results: dict[str, Any] = {}
    for name, who in contenders(kind).items():
        curves[name] = made = scored(kind, name, who, options)
        results[name] = {
            **mean(made).to_json(),
            "seeds": [curve[-1].mean for curve in made],
            "curve": [mean(made, step).mean for step in range(len(made[0]))],
            "settings": dict(who.settings),
            "recipe": who.recipe,
            "iterations": iterations,
        }
    better = -1 if next(iter(results.values()))["metric"] == "mse" else 1
    ranking = sorted(results, key=lambda name: -better * results[name]["mean"])
    orders = [
        {**order(expected, curves, AS_GOOD[kind]), "iterations": iterations} for expected in EXPECTED[kind]
    ]
    return {"results": results, "ranking": ranking, "orders": orders}


def multi(mix: str, options: argparse.Namespace) -> dict[str, Any]:
    """A learner per distribution against one for all: of as many iterations as each, and as both together."""
    iterations = options.multi
    settings = {"train.iterations": iterations, **MIXES[mix]}
    parts = [
        trained(MULTI, options.out / f"{mix}-{d}".replace(" ", "-"), {**settings, "data.args.only": d})
        for d in (0, 1)
    ]
    data = [saved.recipe["data"] for saved in parts]
    sources = [open_source(d["test"], **d["args"]) for d in data]
    sizes = Sizes(data[0]["n_way"], data[0]["k_shot"], options.queries, options.episodes // 2, 0)
    told: dict[str, Any] = {"iterations": iterations, "episodes": options.episodes}
    for label, times in (("as many iterations", 1), ("twice as many iterations", 2)):
        more = {**settings, "train.iterations": times * iterations}
        one = trained(MULTI, options.out / f"{mix}-single-{times}".replace(" ", "-"), more)
        made = evaluate_routers(parts, sources, sizes, 1, single=one)
        scores = made.to_json()
        single = scores["routers"].pop("one for all")
        told = {**scores, **told, "routers": {**scores["routers"], **told.get("routers", {})}}
        told["routers"][f"one for all, {label}"] = single
        told[f"support loss minus one for all, {label}"] = difference(
            made.by_router["one for all"], made.by_router["support loss"]
        ).to_json()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for kind, (_, iterations) in KINDS.items():
        parser.add_argument(f"--{kind}", type=int, default=iterations, help=f"iterations, of {kind}")
    parser.add_argument("--multi", type=int, default=MULTI_ITERATIONS, help="iterations, of Multi-MAML")
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--queries", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    options = parser.parse_args()
    record = {
        "setting": {"episodes": options.episodes, "queries": options.queries, "as good": AS_GOOD},
        **{kind: compared(kind, options) for kind in KINDS},
        "multi": {mix: multi(mix, options) for mix in MIXES},
        "machine": describe(),
    }
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
