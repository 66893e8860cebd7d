"""What `regrow train` and `regrow prune` share: the options of a run, running it, saying what came of it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from regrow.cli.command import byte_count, emit, human_bytes

if TYPE_CHECKING:
    from regrow.checkpoint import Checkpoint
    from regrow_trainer.recipe import Recipe
    from regrow_trainer.rundir import RunDir

More = Callable[["RunDir", "Checkpoint"], tuple[dict[str, Any], str]]
TORCH = (("torch", "train"), ("pydantic", "train"))


def run_options(parser: argparse.ArgumentParser) -> None:
    """How a run is carried out; where it goes is the command's to ask."""
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


def options(args: argparse.Namespace, recipe: Recipe) -> dict[str, Any]:
    """What `train` takes; a memory limit is turned into threads and tasks at a time."""
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


def run(args: argparse.Namespace, train: Callable[[], RunDir], more: More | None = None) -> int:
    """Train, and say where the result is and what `more` knows of it; after Ctrl-C, how to go on."""
    try:
        run = train()
    except KeyboardInterrupt:
        if speaks():
            sys.stderr.write(f"\nregrow: saved in {args.out}; run the same command with --resume to go on\n")
        raise
    from regrow import checkpoint

    if not speaks():
        return 0
    made = checkpoint.read(run.best)
    best = made.provenance["progress"]["history"][-1]
    data: dict[str, Any] = {
        "run": str(run.path),
        "checkpoint": str(run.best),
        "iteration": made.iteration,
        "meta_iterations": made.provenance["meta_iterations"],
        "sparsity": made.provenance["sparsity"],
        "validation": best,
    }
    score = f"accuracy {best['accuracy']:.1%}" if "accuracy" in best else f"loss {best['loss']:.4g}"
    text = f"{run.best}: iteration {made.iteration}, validation {score}"
    if more is not None:
        facts, lines = more(run, made)
        data, text = {**data, **facts}, f"{lines}\n{text}" if lines else text
    emit(args, data, text)
    return 0


def speaks() -> bool:
    """Whether this process is the one to print; torchrun starts several."""
    return os.environ.get("RANK", "0") == "0"


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    return _whole(text, 1)


def natural(text: str) -> int:
    """A whole number from 0, for argparse."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from {least}")
    return value
