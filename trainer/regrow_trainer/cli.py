"""`regrow train`; `prune`, `evaluate` and `compare` have files of their own. Imports torch only to train."""

from __future__ import annotations

import argparse
from pathlib import Path

from regrow.cli.command import Command
from regrow_trainer.cli_measure import compare, evaluate
from regrow_trainer.prune_cli import prune
from regrow_trainer.run_cli import TORCH, options, run, run_options


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
    run_options(parser)


def _train(args: argparse.Namespace) -> int:
    from regrow import checkpoint
    from regrow_trainer.recipe import load_recipe
    from regrow_trainer.training import train

    chosen = [f"train.dtype={args.dtype}"] if args.dtype else []
    recipe = load_recipe(args.recipe, [*args.set, *chosen])
    args.out = args.out or Path("runs") / recipe.name
    start = checkpoint.read(args.start) if args.start else None
    return run(args, lambda: train(recipe, args.out, start=start, **options(args, recipe)))


train = Command("train", "meta-train a recipe into a run folder", _configure_train, _train, TORCH)

__all__ = ["compare", "evaluate", "prune", "train"]
