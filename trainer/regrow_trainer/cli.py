"""`regrow train`, `prune`; beside them `evaluate` and `compare`. Imports torch only to train."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.cli.command import Command, byte_count, emit, human_bytes
from regrow_trainer.cli_measure import TORCH, compare, evaluate, positive

if TYPE_CHECKING:
    from regrow_trainer.recipe import Recipe
    from regrow_trainer.rundir import RunDir


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the recipe, e.g. train.lr=1e-3; a bare key such as steps=3 is looked for in "
        "learner, data, train and validation, in that order",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to compute (auto: a GPU if any)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN")
    parser.add_argument("--force", action="store_true", help="replace the run in RUN")
    parser.add_argument("--workers", type=positive, metavar="N", help="threads; all usable cores by default")
    parser.add_argument(
        "--memory-limit",
        type=byte_count,
        metavar="BYTES",
        help="work on fewer tasks at a time, e.g. 2GB; measures what one takes first",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard events into RUN too")


def _configure_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="TOML recipe")
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="RUN",
        help="folder of the run (runs/NAME)",
    )
    parser.add_argument(
        "--dtype",
        choices=("fp32", "bf16"),
        help="what the network computes in (of the recipe)",
    )
    parser.add_argument("--start", metavar="CHECKPOINT", help="begin with these weights and masks")
    _run_options(parser)


def _train(args: argparse.Namespace) -> int:
    from regrow import checkpoint
    from regrow_trainer.recipe import load_recipe
    from regrow_trainer.training import train

    chosen = [f"train.dtype={args.dtype}"] if args.dtype else []
    recipe = load_recipe(args.recipe, [*args.set, *chosen])
    args.out = args.out or Path("runs") / recipe.name
    start = checkpoint.read(args.start) if args.start else None
    return _run(args, lambda: train(recipe, args.out, start=start, **_options(args, recipe)))


def _configure_prune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="trained checkpoint, e.g. RUN/best.safetensors")
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument("--sparsity", type=float, default=0.85, help="share of the weights to remove (0.85)")
    parser.add_argument("--scope", choices=("layer", "global"), default="layer", help="where weights compete")
    parser.add_argument("--schedule", default="oneshot", help="oneshot, or iterative:0.1 (share per round)")
    parser.add_argument("--pruner", default="magnitude", help="how weights are scored (magnitude)")
    parser.add_argument(
        "--retrain", type=int, default=0, metavar="N", help="meta-iterations after pruning, over all rounds"
    )
    _run_options(parser)


def _prune(args: argparse.Namespace) -> int:
    from regrow import checkpoint
    from regrow_trainer.recipe import parse_recipe
    from regrow_trainer.training import train

    start = checkpoint.read(args.checkpoint)
    plan = {
        "pruner": args.pruner,
        "sparsity": args.sparsity,
        "scope": args.scope,
        "schedule": args.schedule,
    }
    training = {**start.recipe.get("train", {}), "iterations": args.retrain}
    recipe = parse_recipe({**start.recipe, "prune": plan, "train": training}, args.checkpoint, args.set)
    return _run(args, lambda: train(recipe, args.out, start=start, label="prune", **_options(args, recipe)))


def _options(args: argparse.Namespace, recipe: Recipe) -> dict[str, Any]:
    chosen = {name: getattr(args, name) for name in ("resume", "force", "workers", "tensorboard", "device")}
    if args.memory_limit is None:
        return chosen
    from regrow_trainer.memory import measure, plan

    use = measure(recipe)
    made = plan(recipe, use, args.memory_limit, args.workers)
    sys.stderr.write(
        f"regrow: {human_bytes(use.per_task)} per task, {human_bytes(use.fixed)} beside; {made.workers} "
        f"threads with {made.chunk} tasks each: {human_bytes(made.peak)}\n"
    )
    return {**chosen, "workers": made.workers, "chunk": made.chunk}


def _run(args: argparse.Namespace, train: Callable[[], RunDir]) -> int:
    """Train, and say where the result is; after Ctrl-C, how to go on."""
    try:
        run = train()
    except KeyboardInterrupt:
        if _speaks():
            sys.stderr.write(f"\nregrow: saved in {args.out}; run the same command with --resume to go on\n")
        raise
    from regrow import checkpoint

    if not _speaks():
        return 0
    made = checkpoint.read(run.best)
    best = made.provenance["progress"]["history"][-1]
    data = {
        "run": str(run.path),
        "checkpoint": str(run.best),
        "iteration": made.iteration,
        "meta_iterations": made.provenance["meta_iterations"],
        "sparsity": made.provenance["sparsity"],
        "validation": best,
    }
    score = f"accuracy {best['accuracy']:.1%}" if "accuracy" in best else f"loss {best['loss']:.4g}"
    emit(args, data, f"{run.best}: iteration {made.iteration}, validation {score}")
    return 0


def _speaks() -> bool:
    """Whether this process is the one to print; torchrun starts several."""
    return os.environ.get("RANK", "0") == "0"


train = Command("train", "meta-train a recipe into a run folder", _configure_train, _train, TORCH)
prune = Command(
    "prune", "remove weights of a checkpoint and retrain the rest", _configure_prune, _prune, TORCH
)

__all__ = ["compare", "evaluate", "prune", "train"]
