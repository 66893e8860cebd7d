"""`regrow train`, `prune`, `evaluate`, `compare`. Needs torch only for training and for checkpoints."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.cli.command import Command, byte_count, emit, human_bytes, table
from regrow.errors import RegrowError

if TYPE_CHECKING:
    from regrow.evaluate import Evaluation
    from regrow_trainer.recipe import Recipe
    from regrow_trainer.rundir import RunDir

_TORCH = (("torch", "train"), ("pydantic", "train"))


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN")
    parser.add_argument("--force", action="store_true", help="replace the run in RUN")
    parser.add_argument("--workers", type=_positive, metavar="N", help="threads; all usable cores by default")
    parser.add_argument(
        "--memory-limit",
        type=byte_count,
        metavar="BYTES",
        help="work on fewer tasks at a time, e.g. 2GB; measures what one takes first",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard events into RUN too")


def _configure_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="TOML recipe")
    parser.add_argument("--start", metavar="CHECKPOINT", help="begin with these weights and masks")
    _run_options(parser)


def _train(args: argparse.Namespace) -> int:
    from regrow import checkpoint
    from regrow_trainer.recipe import load_recipe
    from regrow_trainer.training import train

    recipe = load_recipe(args.recipe, args.set)
    start = checkpoint.read(args.start) if args.start else None
    return _run(args, lambda: train(recipe, args.out, start=start, **_options(args, recipe)))


def _configure_prune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="trained checkpoint, e.g. RUN/best.safetensors")
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
    chosen = {name: getattr(args, name) for name in ("resume", "force", "workers", "tensorboard")}
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


def _configure_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="bundle (.regrow) or checkpoint")
    _episode_options(parser)


def _episode_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", help="data source, e.g. glyphs:test; by default the test source of the recipe"
    )
    parser.add_argument("--n-way", type=_positive, help="classes per episode")
    parser.add_argument("--k-shot", type=_positive, help="support samples per class")
    parser.add_argument("--queries", type=_positive, default=15, help="query samples per class (15)")
    parser.add_argument("--episodes", type=_positive, default=600, help="how many (600)")
    parser.add_argument("--steps", type=int, help="update steps; by default those of the file")
    parser.add_argument("--seed", type=int, default=0, help="which episodes (0)")
    parser.add_argument("--workers", type=_positive, metavar="N", help="threads; all usable cores by default")


def _evaluate(args: argparse.Namespace) -> int:
    curve, controls = _measured(args)
    rows = [["", curve[-1][1].metric, "95 %"]]
    rows += [[f"after {steps} steps", *_figures(e)] for steps, e in curve]
    rows += [[name, *_figures(e)] for name, e in controls.items()]
    data = {
        "file": args.file,
        "curve": [{"steps": steps, **e.to_json()} for steps, e in curve],
        "controls": {name: e.to_json() for name, e in controls.items()},
    }
    emit(args, data, table(rows, right=(1, 2)))
    return 0


def _measured(args: argparse.Namespace) -> Any:
    """Scores after so many steps, and controls, of a checkpoint or bundle."""
    from regrow_trainer.written import is_checkpoint

    return _evaluate_checkpoint(args) if is_checkpoint(args.file) else _evaluate_bundle(args)


def _configure_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", help="bundle (.regrow) or checkpoint")
    parser.add_argument("second", help="the one to hold against it")
    _episode_options(parser)


def _compare(args: argparse.Namespace) -> int:
    from regrow_trainer.compare import difference, verdict

    _agree(args)
    names = (args.first, args.second)
    scores = [_measured(argparse.Namespace(**{**vars(args), "file": name}))[0][-1][1] for name in names]
    found = difference(*scores)
    rows = [["", scores[0].metric, "95 %"], *([n, *_figures(e)] for n, e in zip(names, scores, strict=True))]
    files = [{"file": n, **e.to_json()} for n, e in zip(names, scores, strict=True)]
    text = f"{table(rows, right=(1, 2))}\n{verdict(found, *names, scores[0].metric)}"
    emit(args, {"files": files, "difference": found.to_json()}, text)
    return 0


def _agree(args: argparse.Namespace) -> None:
    """Both must see the same episodes: where the files name different ones, the user has to choose."""
    from regrow_trainer.written import data_of

    first, second = (data_of(name) for name in (args.first, args.second))
    options = (("source", "test"), ("source", "args"), ("n_way", "n_way"), ("k_shot", "k_shot"))
    for option, key in options:
        if getattr(args, option) is None and first.get(key) != second.get(key):
            raise RegrowError(
                f"{args.second}: was made with {key} {second.get(key)!r}, {args.first} with "
                f"{first.get(key)!r}, expected the same episodes; add --{option.replace('_', '-')}"
            )


def _figures(e: Evaluation) -> list[str]:
    percent = e.metric == "accuracy"
    form = "{:.2%}" if percent else "{:.4f}"
    return [form.format(e.mean), "± " + form.format(e.half_width)]


def _evaluate_checkpoint(args: argparse.Namespace) -> Any:
    _need_torch()
    from regrow import checkpoint
    from regrow.episodes import open_source
    from regrow.progress import Progress
    from regrow_trainer.evaluate import Sizes, evaluate

    saved = checkpoint.read(args.file)
    data = saved.recipe["data"]
    source = open_source(args.source) if args.source else open_source(data["test"], **data.get("args", {}))
    sizes = Sizes(
        args.n_way or data["n_way"], args.k_shot or data["k_shot"], args.queries, args.episodes, args.seed
    )
    with Progress(args.episodes, "evaluate") as progress:
        report = evaluate(
            saved, source, sizes, place=args.file, steps=args.steps, workers=args.workers, progress=progress
        )
    return list(enumerate(report.curve)), report.controls


def _evaluate_bundle(args: argparse.Namespace) -> Any:
    from regrow.episodes import open_source
    from regrow.evaluate import evaluate, nearest_pixel
    from regrow.model import open as open_model
    from regrow.progress import Progress

    model = open_model(args.file)
    data = model.manifest.provenance.get("data", {})
    name = args.source or data.get("test")
    if name is None:
        raise RegrowError(f"{args.file}: names no test data, expected some; add --source, e.g. glyphs:test")
    source = open_source(name, **({} if args.source else data.get("args", {})))
    sizes = {
        "n_way": args.n_way or data.get("n_way", 5),
        "k_shot": args.k_shot or data.get("k_shot", 1),
        "queries": args.queries,
        "episodes": args.episodes,
        "seed": args.seed,
    }
    steps = model.manifest.rule.steps if args.steps is None else args.steps

    def measured(label: str, **options: Any) -> Evaluation:
        with Progress(args.episodes, label) as progress:
            return evaluate(model, source, progress=progress, **options, **sizes)

    curve = [(0, measured("before", steps=0)), (steps, measured("adapted", steps=steps))]
    if source.task == "regression":
        return curve, {}
    controls = {"shuffled labels": measured("shuffled labels", steps=steps, shuffle_labels=True)}
    with Progress(args.episodes, "nearest pixel") as progress:
        controls["nearest pixel"] = nearest_pixel(source, progress=progress, **sizes)
    return curve, controls


def _need_torch() -> None:
    from importlib.util import find_spec

    from regrow.errors import UnsupportedError

    for module, extra in _TORCH:
        if find_spec(module) is None:
            raise UnsupportedError(
                f"evaluate: a checkpoint needs {module}, which is missing; pip install 'regrow[{extra}]'"
            )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


train = Command("train", "meta-train a recipe into a run folder", _configure_train, _train, _TORCH)
prune = Command(
    "prune", "remove weights of a checkpoint and retrain the rest", _configure_prune, _prune, _TORCH
)
evaluate = Command(
    "evaluate", "measure a bundle or checkpoint on few-shot episodes", _configure_evaluate, _evaluate
)
compare = Command(
    "compare",
    "say whether two bundles or checkpoints differ, on the same episodes",
    _configure_compare,
    _compare,
)
