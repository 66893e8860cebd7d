"""What every pruner costs in few-shot accuracy, at six sparsities, on the same unseen episodes.

python -m benchmarks.pruners --out runs/pruners --record benchmarks/results/pruners.json

Dense and pruned networks share `--base` meta-iterations, then each gets `--retrain` more, the pruned ones in
rounds of a tenth of the weights. A rival that the literature tunes on one target task is run that way
(`one task`: scored and retrained on a single task of unseen classes) and as fairly as the others. Every row
is kept as it is made; the same command goes on where it was stopped. As it stands it takes about ten minutes
of processor time; `--every` runs the controls at all sparsities too. `--page` writes docs/pruning.md and its
pictures from a record.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.growth import measured_rounds, watched
from benchmarks.pruners_methods import DATA, METHODS, SPARSITIES, Method
from benchmarks.pruners_page import write_page
from regrow import checkpoint
from regrow.bench.machine import describe
from regrow.checkpoint import Checkpoint, Update
from regrow.evaluate import Evaluation
from regrow.files import atomic_write
from regrow_trainer import metrics, pruning, training
from regrow_trainer.batching import Workers
from regrow_trainer.build import moves, open_data, rebuild
from regrow_trainer.compare import difference
from regrow_trainer.feed import TEST, draw, stream_seed
from regrow_trainer.learner import Learner, Task
from regrow_trainer.recipe import Prune, Recipe, load_recipe, parse_recipe
from regrow_trainer.structured import narrowed
from regrow_trainer.tensors import to_tensors

ROOT = Path(__file__).resolve().parent.parent
RECIPES, DOCS = ROOT / "recipes", ROOT / "docs"
SHOWN = 0.85  # what of each layer is left then is drawn


class Bench:
    """A folder of runs, and the rows made so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.out: Path = args.out
        self.args, self.rows_path = args, args.out / "rows.json"
        self.settings = {
            "data": args.data, "base": args.base, "retrain": args.retrain, "episodes": args.episodes,
            "seed": args.seed,
        }  # fmt: skip
        self.rows: dict[str, dict[str, Any]] = {}
        self.out.mkdir(parents=True, exist_ok=True)
        if self.rows_path.exists():
            found = json.loads(self.rows_path.read_text(encoding="utf-8"))
            if found["settings"] != self.settings:
                raise SystemExit(
                    f"{self.rows_path}: of other settings, {found['settings']}; choose another --out"
                )
            self.rows = found["rows"]

    def recipe(self, *sets: str) -> Recipe:
        """The textbook MAML recipe on the data, without validation on the way."""
        path = str(RECIPES / "glyphs-5w1s-maml.toml")
        quiet = (
            "validation.every=1000000", "validation.episodes=20", f"seed={self.args.seed}",
            "train.chunk=4",  # a meta-batch at once: half of the time on one core
        )  # fmt: skip
        return load_recipe(path, [*DATA[self.args.data], *quiet, *sets])

    def base(self) -> Checkpoint:
        """The dense network that all begin with."""
        path = self.out / "base"
        recipe = self.recipe(f"train.iterations={self.args.base}")
        if not (path / "best.safetensors").exists():
            training.train(recipe, path, force=True, workers=self.args.workers, label="base")
        return checkpoint.read(path / "best.safetensors")

    def row(self, key: str, method: Method, sparsity: float) -> None:
        """Prune, retrain, measure, keep."""
        if key in self.rows:
            return
        base, began = self.base(), time.process_time()
        made, facts = self.pruned(key, method, sparsity, base)
        scores = accuracy(made, self.args.episodes, self.args.workers)
        np.save(self.out / f"{key}.npy", scores.scores)
        if method.prune.get("rewind"):
            facts["scopes"] = scopes(made, self.args.episodes, self.args.workers)
        self.rows[key] = {
            **facts, **scores.to_json(), "sparsity": sparsity, "cpu_seconds": time.process_time() - began,
        }  # fmt: skip
        self.save()

    def pruned(
        self, key: str, method: Method, sparsity: float, base: Checkpoint
    ) -> tuple[Checkpoint, dict[str, Any]]:
        """The network at that sparsity after its retraining, and what pruning took."""
        iterations = self.args.retrain + (self.args.base if method.longer else 0)
        sets = [f"train.iterations={iterations}", *method.sets]
        if "one task" in key:
            sets.append(f"data.train={self.recipe().data.test}")
        plain = self.recipe(*sets)
        facts: dict[str, Any] = {}
        start = base
        if method.channels:
            with watched() as grown:
                start = narrowed(base, Prune(sparsity=sparsity, **method.prune), "base", self.args.workers)
            plain = parse_recipe({**plain.model_dump(mode="json", exclude_none=True),
                                  "backbone": start.recipe["backbone"]}, "channels")  # fmt: skip
            facts = {"channels": start.provenance["origin"]["channels"], "grown_bytes": max(grown)}
        elif sparsity:
            plan = Prune(**{"schedule": "iterative:0.1", **method.prune, "sparsity": sparsity})
            plain = plain.model_copy(update={"prune": plan})
        with measured_rounds() as grown:
            run = training.train(
                plain, self.out / key, start=start, force=True, workers=self.args.workers, label=key
            )
        made = checkpoint.read(run.last)
        rounds = [r for r in metrics.read(run.metrics) if r["kind"] == "prune"]
        if rounds:
            facts |= {
                "rounds": len(rounds),
                "seconds": sum(r["seconds"] for r in rounds),
                "held_bytes": max(r["held_bytes"] for r in rounds),
                "grown_bytes": max(grown, default=0),
            }
        masks = to_tensors(made.masks)
        if sparsity == SHOWN:
            facts["maps"] = {name: _map(mask) for name, mask in masks.items()}
        return made, {**facts, "layers": pruning.layers(masks)}

    def save(self) -> None:
        """All rows, each with its difference to the dense network and to its rivals."""
        text = json.dumps({"settings": self.settings, "rows": self.rows}, indent=1)
        atomic_write(self.rows_path, text.encode())

    def record(self) -> dict[str, Any]:
        """What is published: rows with paired differences, settings, machine."""
        scores = {key: Evaluation(np.load(self.out / f"{key}.npy")) for key in self.rows}
        rows = {}
        for key, row in self.rows.items():
            against = {"dense": "dense"} | {r: f"{r}@{row['sparsity']:g}" for r in ("magnitude", "L-OBS")}
            gaps = {
                name: difference(scores[rival], scores[key]).to_json()
                for name, rival in against.items()
                if rival in scores and rival != key
            }
            rows[key] = {**row, "against": gaps}
        return {"settings": self.settings, "rows": rows, "machine": describe()}


def scopes(made: Checkpoint, episodes: int, workers: int | None) -> dict[str, dict[str, float]]:
    """The same network under every rule a device could follow, after one and after five steps."""
    kept = tuple(made.masks)
    rules: dict[str, tuple[tuple[str, ...], Update]] = {
        "kept convolutions alone": (kept, "kept"),
        "as in training": (("*",), "kept"),
        "head alone": (("@head",), "kept"),
        "pruned alone (strict)": (kept, "pruned"),
        "pruned and head (plus_head)": ((*kept, "@head"), "pruned"),
        "pruned and all unmasked (plus_unmasked)": (("*",), "pruned"),
    }
    found: dict[str, dict[str, float]] = {}
    for name, (patterns, update) in rules.items():
        for steps in (1, 5):
            device = replace(made, adaptable=patterns, update=update, steps=steps)
            found.setdefault(name, {})[f"{steps}"] = accuracy(device, episodes, workers).mean
    return found


def accuracy(made: Checkpoint, episodes: int, workers: int | None) -> Evaluation:
    """On unseen classes, as the device would adapt."""
    built = rebuild(made, "checkpoint")
    recipe = built.recipe
    params, meta, masks = to_tensors(made.params), to_tensors(made.meta), moves(made)
    # One task's training data are its test classes: what is tested on is another stream of episodes.
    source, seed = open_data(recipe, recipe.data.test), stream_seed(recipe.seed, TEST)
    tasks = draw(source, recipe.data, recipe.input, 15, seed, 0, episodes)

    def score(learner: Learner, task: Task) -> torch.Tensor:
        x, y = task.support_x, task.support_y
        return learner.query_scores(learner.adapt(params, meta, masks, x, y, made.steps), task).accuracy

    with torch.no_grad(), Workers(built.learner, "auto", workers) as pool:
        return Evaluation(pool.each(score, tasks).double().numpy())


def _map(mask: torch.Tensor) -> list[str]:
    """A row per output, a digit per input: how many of a kernel's weights are left."""
    counts = mask.flatten(2).sum(2) if mask.dim() > 2 else mask.int()
    return ["".join(str(min(9, int(v))) for v in row) for row in counts]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/pruners"), help="where runs and rows go")
    parser.add_argument("--record", type=Path, help="write the published record here when all rows are made")
    parser.add_argument("--data", choices=sorted(DATA), default="glyphs")
    parser.add_argument("--base", type=int, default=600, help="meta-iterations of the dense network (600)")
    parser.add_argument("--retrain", type=int, default=150, help="meta-iterations of every row (150)")
    parser.add_argument("--episodes", type=int, default=200, help="paired test episodes (200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int)
    parser.add_argument(
        "--only", nargs="+", choices=list(METHODS), help="these methods, beside the dense one"
    )
    parser.add_argument("--at", nargs="+", type=float, help="these sparsities")
    parser.add_argument("--every", action="store_true", help="the controls at all sparsities too")
    parser.add_argument("--page", type=Path, metavar="RECORD", help="only write the page of this record")
    args = parser.parse_args()
    if args.page:
        write_page(json.loads(args.page.read_text(encoding="utf-8")), DOCS, args.page.parent)
        return
    bench = Bench(args)
    bench.row("dense", Method({}), 0.0)
    chosen = {n: m for n, m in METHODS.items() if args.only is None or n in args.only}
    for sparsity in SPARSITIES:
        for name, method in chosen.items():
            if (args.every or sparsity in method.at) and (args.at is None or sparsity in args.at):
                bench.row(f"{name}@{sparsity:g}", method, sparsity)
    text = json.dumps(bench.record(), indent=1) + "\n"
    if args.record:
        atomic_write(args.record, text.encode())
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
