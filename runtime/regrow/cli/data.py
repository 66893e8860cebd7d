"""regrow data: list the data sources, show one, and write an episode as files for `adapt` and `predict`."""

from __future__ import annotations

import argparse
import io
from importlib import import_module
from typing import TYPE_CHECKING, Any

from regrow.cli.command import Command, add_force, emit, refuse_overwrite, table

if TYPE_CHECKING:
    from regrow.episodes.source import Episode, Source


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the three actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="name the sources")
    show = actions.add_parser("show", help="say what a source holds; with --out, draw an episode of it")
    episode = actions.add_parser("episode", help="write one episode as NPZ files")
    for action in (show, episode):
        _add_source(action)
        add_force(action)
    show.add_argument("--out", metavar="PNG", help="draw the episode here: support, a bar, query")
    episode.add_argument("--support", metavar="NPZ", help="the support samples as x and y")
    episode.add_argument("--query", metavar="NPZ", help="the query samples as x and y")
    episode.add_argument("--out", metavar="NPZ", help="both: support_x, support_y, query_x, query_y")
    episode.add_argument("--names", action="store_true", help="label by class name, not by 0, 1, ...")
    for action in (listing, show, episode):
        # SUPPRESS: the front may define --json too, and a default here would overwrite what it read.
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="such as glyphs:test, sine, or files:PATH")
    parser.add_argument("--way", type=int, help="classes per episode (default: 5, or all if fewer)")
    parser.add_argument("--shot", type=int, default=1, help="support samples per class (default: 1)")
    parser.add_argument("--queries", type=int, default=5, help="query samples per class (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sequence of episodes (default: 0)")
    parser.add_argument("--index", type=int, default=0, help="place in that sequence (default: 0)")
    parser.add_argument("--shape", type=_shape, help="for files: the input shape, such as 1x28x28")
    parser.add_argument("--invert", action="store_true", help="for files: dark ink becomes 1")


def _shape(text: str) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in text.split("x"))
    if min(sizes) < 1:
        raise ValueError(text)  # argparse turns it into its own message
    return sizes


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    facts = {"list": _list, "show": _show, "episode": _episode}[args.action](args)
    emit(args, facts, table([(name.replace("_", " "), _text(value)) for name, value in facts.items()]))
    return 0


def _text(value: Any) -> str:
    return ", ".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)


def _list(args: argparse.Namespace) -> dict[str, Any]:
    from regrow.episodes.source import SOURCES

    modules = {name: import_module(target.partition(":")[0]) for name, target in SOURCES.items()}
    return {name: (module.__doc__ or "").partition("\n")[0] for name, module in modules.items()}


def _show(args: argparse.Namespace) -> dict[str, Any]:
    from regrow.episodes import png
    from regrow.files import atomic_write

    refuse_overwrite([args.out], args.force)
    source = _open(args)
    facts: dict[str, Any] = {"source": args.source, "task": source.task, "sample_shape": source.sample_shape}
    if source.task == "classification":
        counts = [source.samples(i) for i in range(source.n_classes)]
        facts |= {"classes": source.n_classes, "samples": sum(counts), "smallest_class": min(counts)}
    if args.out or source.task == "regression":
        episode = _sample(source, args)
        facts["episode"] = list(episode.classes)
    if args.out:
        atomic_write(args.out, png.encode(png.episode_grid(episode)))
        facts["wrote"] = [args.out]
    return facts


def _episode(args: argparse.Namespace) -> dict[str, Any]:
    from regrow.errors import SampleError
    from regrow.files import atomic_write

    if not (args.out or args.support or args.query):
        raise SampleError("data episode: no place to write; give --support and --query, or --out")
    refuse_overwrite([args.support, args.query, args.out], args.force)
    e = _sample(_open(args), args)
    labels: list[Any] = [e.support_y, e.query_y]
    if args.names:
        if len(e.classes) < 2:
            raise SampleError(f"data episode: {args.source} has no class names; leave out --names")
        labels = [[e.classes[int(label)] for label in y] for y in labels]
    support, query = {"x": e.support_x, "y": labels[0]}, {"x": e.query_x, "y": labels[1]}
    both = {f"{k}_{n}": v for k, part in (("support", support), ("query", query)) for n, v in part.items()}
    parts = [(args.support, support), (args.query, query), (args.out, both)]
    for path, arrays in parts:
        if path:
            atomic_write(path, _npz({**arrays, "classes": list(e.classes)}))
    return {
        "source": args.source,
        "seed": args.seed,
        "index": args.index,
        "classes": list(e.classes),
        "support": len(e.support_x),
        "query": len(e.query_x),
        "wrote": [path for path, _ in parts if path],
    }


def _npz(arrays: dict[str, Any]) -> bytes:
    import numpy as np

    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _open(args: argparse.Namespace) -> Source:
    from regrow.episodes.source import open_source

    given = {"shape": args.shape, "invert": args.invert or None}
    return open_source(args.source, **{name: value for name, value in given.items() if value is not None})


def _sample(source: Source, args: argparse.Namespace) -> Episode:
    from regrow.episodes.sampler import sample

    most = source.n_classes if source.task == "classification" else 1
    way = min(5, most) if args.way is None else args.way
    return sample(source, way, args.shot, args.queries, args.seed, args.index)


COMMAND = Command("data", "list data sources, show one, write an episode to files", configure, run)
