"""`regrow evaluate`, `compare`: bundles or checkpoints on few-shot episodes; only checkpoints need torch."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from regrow.cli.command import Command, emit, table
from regrow.errors import RegrowError
from regrow_trainer.run_cli import TORCH, natural, positive

if TYPE_CHECKING:
    from regrow.evaluate import Evaluation


def _configure_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="+",
        help="bundle (.regrow) or checkpoint; several: one per distribution (Multi-MAML)",
    )
    parser.add_argument(
        "--single", metavar="CHECKPOINT", help="with several checkpoints: one for all, on the same episodes"
    )
    _episode_options(parser)


def _episode_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", help="data source, e.g. glyphs:test; by default the test source of the recipe"
    )
    parser.add_argument("--n-way", type=positive, help="classes per episode")
    parser.add_argument("--k-shot", type=positive, help="support samples per class")
    parser.add_argument("--queries", type=positive, default=15, help="query samples per class (15)")
    parser.add_argument("--episodes", type=positive, default=600, help="how many (600)")
    parser.add_argument("--steps", type=natural, help="update steps; by default those of the file")
    parser.add_argument("--seed", type=natural, default=0, help="which episodes (0)")
    parser.add_argument("--workers", type=positive, metavar="N", help="threads; all usable cores by default")


def _evaluate(args: argparse.Namespace) -> int:
    if len(args.file) > 1:
        from regrow_trainer.cli_route import evaluate_several

        return evaluate_several(args)
    if args.single:
        raise RegrowError("evaluate: --single with one file, expected several to compare it with; add them")
    args = argparse.Namespace(**{**vars(args), "file": args.file[0]})
    curve, controls = _measured(args)
    rows = [["", curve[-1][1].metric, "95 %"]]
    rows += [[f"after {steps} steps", *figures(e)] for steps, e in curve]
    rows += [[name, *figures(e)] for name, e in controls.items()]
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
    rows = [["", scores[0].metric, "95 %"], *([n, *figures(e)] for n, e in zip(names, scores, strict=True))]
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


def figures(e: Evaluation) -> list[str]:
    percent = e.metric == "accuracy"
    form = "{:.2%}" if percent else "{:.4f}"
    return [form.format(e.mean), "± " + form.format(e.half_width)]


def _evaluate_checkpoint(args: argparse.Namespace) -> Any:
    need_torch()
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

    # A bundle with its own rates per step starts them anew with every adaptation, so each point is its own.
    curve = [(done, measured(f"{done} steps", steps=done)) for done in range(steps + 1)]
    if source.task == "regression":
        return curve, {}
    controls = {"shuffled labels": measured("shuffled labels", steps=steps, shuffle_labels=True)}
    with Progress(args.episodes, "nearest pixel") as progress:
        controls["nearest pixel"] = nearest_pixel(source, progress=progress, **sizes)
    return curve, controls


def need_torch() -> None:
    from importlib.util import find_spec

    from regrow.errors import UnsupportedError

    for module, extra in TORCH:
        if find_spec(module) is None:
            raise UnsupportedError(
                f"evaluate: a checkpoint needs {module}, which is missing; pip install 'regrow[{extra}]'"
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
