"""ANP on a ResNet-12 as wide as few-shot learning uses it, from training to a verified bundle.

python -m benchmarks.pruners_wide --out runs/wide --record benchmarks/results/pruners_wide.json
python -m benchmarks.pruners --page benchmarks/results/pruners.json

Ten minutes of one core. It shows what pruning 512 x 9 inputs takes; so short a training says nothing of
accuracy beyond whether retraining gets back what the dense network had. Finished steps are reused.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.growth import measured_rounds
from benchmarks.pruners import accuracy
from regrow import checkpoint
from regrow.bench.machine import describe
from regrow.files import atomic_write
from regrow_exporter.checkpoints import export_checkpoint
from regrow_trainer import metrics, pruning, training
from regrow_trainer.recipe import Prune, Recipe, load_recipe
from regrow_trainer.tensors import to_tensors

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "glyphs-5w1s-fomaml.toml"
PLAN = Prune(pruner="anp", args={"tasks": 64, "block": 1152}, sparsity=0.85, schedule="iterative:0.5")


def recipe(iterations: int) -> Recipe:
    """First-order MAML of a ResNet-12 with its published widths on glyphs."""
    return load_recipe(
        str(RECIPE),
        ["backbone={name='resnet12'}", "rule.args.lr=0.1", "train.lr=1e-3", "train.tasks=2", "train.chunk=2",
         f"train.iterations={iterations}", "validation.every=1000000", "validation.episodes=10"],
    )  # fmt: skip


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """A result and the processor seconds it took."""
    began = time.process_time()
    made = work()
    return made, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/wide"))
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--base", type=int, default=60)
    parser.add_argument("--retrain", type=int, default=60)
    parser.add_argument("--episodes", type=int, default=40)
    args = parser.parse_args()
    base, pruned, bundle = args.out / "base", args.out / "pruned", args.out / "pruned.regrow"
    if not (base / "best.safetensors").exists():
        training.train(recipe(args.base), base, force=True, workers=1, label="base")
    start = checkpoint.read(base / "last.safetensors")
    plan = recipe(args.retrain).model_copy(update={"prune": PLAN})
    with measured_rounds() as grown:
        run = training.train(plan, pruned, start=start, force=True, workers=1, label="pruned")
    made = checkpoint.read(run.last)
    rounds = [r for r in metrics.read(run.metrics) if r["kind"] == "prune"]
    _, export_seconds = timed(lambda: export_checkpoint(run.last, bundle))
    record = {
        "settings": {"base": args.base, "retrain": args.retrain, "episodes": args.episodes,
                     "tasks": PLAN.args["tasks"], "block": PLAN.args["block"]},
        "weights": sum(layer["weights"] for layer in rounds[0]["layers"]),
        "widest": max(p[0].size for n, p in made.params.items() if n in made.masks),
        "dense": accuracy(start, args.episodes, 1).to_json(),
        "pruned": accuracy(made, args.episodes, 1).to_json(),
        "rounds": [{"sparsity": r["sparsity"], "seconds": r["seconds"], "held_bytes": r["held_bytes"],
                    "grown_bytes": g} for r, g in zip(rounds, grown, strict=True)],
        "layers": pruning.layers(to_tensors(made.masks)),
        "bundle_bytes": bundle.stat().st_size,
        "export_seconds": export_seconds,
        "machine": describe(),
    }  # fmt: skip
    atomic_write(args.record, (json.dumps(record, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
