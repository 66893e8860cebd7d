"""regrow data: list sources, prepare and check datasets, show a source, write an episode as files."""

from __future__ import annotations

import argparse
import difflib
import io
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from regrow.cli.command import Command, add_force, emit, refuse_overwrite, table

if TYPE_CHECKING:
    from regrow.datasets.descriptors import Dataset
    from regrow.episodes.source import Episode, Source


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="name the sources")
    prepare = actions.add_parser("prepare", help="fetch a dataset where asked to, and make it fast to read")
    check = actions.add_parser("check", help="compare a dataset's files and splits with what they should be")
    for action in (prepare, check):
        action.add_argument("dataset", help="such as omniglot; `regrow data list` names them")
    prepare.add_argument("--download", action="store_true", help="fetch what is missing from its publisher")
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
    for action in (listing, prepare, check, show, episode):
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
    actions = {"list": _list, "prepare": _prepare, "check": _check, "show": _show, "episode": _episode}
    facts = actions[args.action](args)
    spaced = args.action != "list"  # names of sources are typed as they stand
    rows = [(name.replace("_", " ") if spaced else name, _text(value)) for name, value in facts.items()]
    emit(args, facts, table(rows))
    return 0


def _text(value: Any) -> str:
    return ", ".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)


def _list(args: argparse.Namespace) -> dict[str, Any]:
    from regrow.datasets.catalog import DATASETS
    from regrow.datasets.prepare import located
    from regrow.episodes.source import SOURCES

    built_in = {name: target.partition(":")[0] for name, target in SOURCES.items() if name not in DATASETS}
    facts = {n: (import_module(m).__doc__ or "").partition("\n")[0] for n, m in built_in.items()}
    state = {name: "here" if located(name) else "not here" for name in DATASETS}
    return facts | {name: f"{d.title} ({d.licence}; {state[name]})" for name, d in DATASETS.items()}


def _prepare(args: argparse.Namespace) -> dict[str, Any]:
    from regrow.datasets import fetch
    from regrow.datasets.prepare import folder, load

    dataset = _dataset(args.dataset)
    terms = {"licence": dataset.licence, "citation": dataset.citation, "note": dataset.note}
    sys.stderr.write("".join(f"{name}: {text}\n" for name, text in terms.items() if text))
    fetched = fetch.fetch(args.dataset) if args.download else []
    table = load(args.dataset)
    return {
        **terms,
        "fetched": [str(path) for path in fetched],
        "samples": len(table.x),
        "sample_shape": table.x.shape[1:],
        "classes": len(table.names["class"]),
        "prepared": str(folder(args.dataset)),
    }


def _check(args: argparse.Namespace) -> dict[str, Any]:
    from regrow.datasets.check import check

    _dataset(args.dataset)
    return check(args.dataset)


def _dataset(name: str) -> Dataset:
    from regrow.datasets.catalog import DATASETS
    from regrow.errors import SampleError

    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(DATASETS)}"
        raise SampleError(f"data: no dataset is called {name!r}; {hint}")
    return DATASETS[name]


def _show(args: argparse.Namespace) -> dict[str, Any]:
    from regrow.episodes import GroupSource, png
    from regrow.files import atomic_write

    refuse_overwrite([args.out], args.force)
    source = _open(args)
    facts: dict[str, Any] = {"source": args.source, "task": source.task, "sample_shape": source.sample_shape}
    if source.task == "classification":
        counts = [source.samples(i) for i in range(source.n_classes)]
        if isinstance(source, GroupSource):
            facts |= {"groups": list(source.groups)}
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


COMMAND = Command("data", "list, prepare, check and show data; write an episode to files", configure, run)
