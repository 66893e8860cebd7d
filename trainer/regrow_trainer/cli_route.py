"""`regrow evaluate A B ...`: one learner for each distribution, and who chooses among them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from regrow.cli.command import emit, table
from regrow.errors import RegrowError
from regrow_trainer.cli_measure import figures, need_torch
from regrow_trainer.written import data_of, is_checkpoint

if TYPE_CHECKING:
    from regrow.episodes import Source
    from regrow_trainer.routing import Routed


def evaluate_several(args: argparse.Namespace) -> int:
    """All files on the test episodes of every file; file number d belongs to those of file d."""
    kinds = {is_checkpoint(name) for name in args.file}
    if len(kinds) > 1:
        raise RegrowError(f"{args.file[1]}: bundles and checkpoints, expected one kind; export the others")
    data = [data_of(name) for name in args.file]
    shape = {
        "n_way": args.n_way or data[0].get("n_way", 5),
        "k_shot": args.k_shot or data[0].get("k_shot", 1),
        "queries": args.queries,
        "episodes": args.episodes,
        "seed": args.seed,
    }
    made = _of_checkpoints(args, data, shape) if kinds.pop() else _of_bundles(args, data, shape)
    metric = next(iter(made.by_router.values())).metric
    rows = [["router", metric, "95 %"], *([name, *figures(e)] for name, e in made.by_router.items())]
    text = f"{table(rows, right=(1, 2))}\nthe support loss chooses as given in {made.agreement:.1%}"
    emit(args, {"files": args.file, **made.to_json()}, text)
    return 0


def _source(args: argparse.Namespace, name: str, data: dict[str, Any]) -> Source:
    from regrow.episodes import open_source

    if args.source:
        raise RegrowError("evaluate: --source with several files, expected each file's own; leave it out")
    if "test" not in data:
        raise RegrowError(f"{name}: names no test data, expected some; export it from its checkpoint")
    return open_source(data["test"], **data["args"])


def _of_checkpoints(args: argparse.Namespace, data: list[dict[str, Any]], shape: dict[str, int]) -> Routed:
    need_torch()
    from regrow import checkpoint
    from regrow_trainer.evaluate import Sizes
    from regrow_trainer.multi import evaluate_routers

    sources = [_source(args, name, d) for name, d in zip(args.file, data, strict=True)]
    saved = [checkpoint.read(name) for name in args.file]
    single = checkpoint.read(args.single) if args.single else None
    return evaluate_routers(saved, sources, Sizes(**shape), args.workers, single)


def _of_bundles(args: argparse.Namespace, data: list[dict[str, Any]], shape: Any) -> Routed:
    import numpy as np

    from regrow.model import open as open_model
    from regrow_trainer.routing import bundle_column, routed

    if args.single:
        raise RegrowError("evaluate: --single with bundles, expected checkpoints; evaluate it by itself")
    sources = [_source(args, name, d) for name, d in zip(args.file, data, strict=True)]
    models = [open_model(name) for name in args.file]
    tables = [[bundle_column(model, source, shape) for model in models] for source in sources]
    scores, fits = ([np.stack([c[part] for c in columns], 1) for columns in tables] for part in (0, 1))
    return routed(scores, fits, "mse" if sources[0].task == "regression" else "accuracy")
