"""regrow bench: latency, memory, cold start and sizes of a bundle, beside torch where it is installed.

Also the front of the suite that measures every peer, which lives in a checkout, and of the comparison of two
results.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from regrow.cli.command import Command, add_force, emit, human_bytes, refuse_overwrite, table

if TYPE_CHECKING:
    from regrow.bench.compare import Change


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "bundle", nargs="*", metavar="BUNDLE", help="a .regrow file; or: compare OLD.json NEW.json"
    )
    parser.add_argument("--suite", choices=("short", "readme", "full"),
                        help="measure every peer instead, on standard work, in a checkout; goes on from what "
                        "--out holds")  # fmt: skip
    parser.add_argument(
        "--out", metavar="JSON", help="where the suite's result goes (default: suite-NAME.json)"
    )
    parser.add_argument("--html", metavar="FILE", help="write the suite's result as one page")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu",
                        help="cuda: the same episodes on a GPU, for --suite")  # fmt: skip
    parser.add_argument("--support", type=int, default=5, metavar="N", help="support samples (default: 5)")
    parser.add_argument("--repeat", type=int, default=30, metavar="N", help="timed rounds (default: 30)")
    parser.add_argument("--cold", type=int, default=5, metavar="N", help="cold starts each (default: 5)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these subjects only, such as onnx")
    parser.add_argument("--plot", metavar="PNG", help="draw the figures here (needs the bench extra)")
    add_force(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print, or hand over to the suite or the comparison."""
    from regrow.errors import SampleError

    if args.suite:
        from regrow.bench import suite

        return suite.run(args)
    if args.bundle[:1] == ["compare"]:
        return _compare(args)
    if len(args.bundle) != 1:
        raise SampleError(
            f"bench: {len(args.bundle)} bundles, expected one; or --suite NAME, or compare OLD NEW"
        )
    (args.bundle,) = args.bundle
    return _measure(args)


def _compare(args: argparse.Namespace) -> int:
    """The exit code is 1 where something became worse."""
    from regrow.bench import compare
    from regrow.errors import SampleError

    if len(args.bundle) != 3:
        raise SampleError(f"bench compare: {len(args.bundle) - 1} files, expected two: OLD.json NEW.json")
    changes = compare.compare(*(compare.read(path) for path in args.bundle[1:]))
    worse = [change for change in changes if change.worse]
    rows = [("", "before", "after", "times"), *(_told(change) for change in changes)]
    data = {"changes": [change.to_json() for change in changes], "worse": len(worse)}
    emit(args, data, f"{table(rows, right=(1, 2))}\n\n{len(worse)} of {len(changes)} figures became worse")
    return 1 if worse else 0


def _told(change: Change) -> tuple[str, str, str, str]:
    mark = "  worse" if change.worse else ""
    return change.what, _short(change.before), _short(change.after), f"{change.ratio:.3g}{mark}"


def _measure(args: argparse.Namespace) -> int:
    from regrow.bench import peers
    from regrow.bench.run import WARM_UP, measure
    from regrow.errors import SampleError
    from regrow.files import atomic_write
    from regrow.progress import Progress

    refuse_overwrite([args.plot], args.force)
    if min(args.support, args.repeat, args.cold) < 1:
        raise SampleError("bench: --support, --repeat and --cold are at least 1; raise them")
    chosen = [p for p in peers.found() if not args.only or p.name in args.only]
    with Progress(args.repeat + WARM_UP + args.cold, "bench") as progress:
        facts = measure(
            args.bundle, chosen, support=args.support, repeat=args.repeat, cold=args.cold, progress=progress
        )
    facts["bytes"] = _sizes(args.bundle)
    if args.plot:
        from regrow.bench.plot import draw

        atomic_write(args.plot, draw(facts))
        facts["plot"] = args.plot
    emit(args, facts, _text(facts))
    return 0


def _sizes(path: str) -> dict[str, int]:
    from regrow import bundle
    from regrow.cli.inspect import describe

    sizes: dict[str, int] = describe(bundle.read(path), [])["bytes"]
    return sizes


def _text(facts: dict[str, Any]) -> str:
    machine, sizes = facts["machine"], facts["bytes"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    ways = "" if facts["ways"] is None else f" of {facts['ways']} classes"
    lines = [
        f"{facts['bundle']['path']}: {facts['support']} samples{ways}, "
        f"{facts['steps']} steps; median and 95 % interval of {facts['repeat']} rounds taken in turns",
        "",
        _figures(facts["subjects"], facts["ratios"]),
        "",
        f"bundle {human_bytes(sizes['total'])} (weights {human_bytes(sizes['weights'])}, dense fp32 "
        f"{human_bytes(sizes['dense_fp32'])}); planned peak {human_bytes(facts['planned_bytes'])}",
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']} -> {machine['load_after']}; "
        f"{machine['system']}, Python {machine['python']}, {versions}; commit {machine['commit'] or '-'}; "
        f"{machine['date']}",
    ]
    lines += [f"skipped {name}: {reason}" for name, reason in facts["skipped"].items()]
    return "\n".join(lines)


def _figures(subjects: dict[str, Any], ratios: dict[str, Any]) -> str:
    names = {
        "adapt_ms": "adaptation, ms",
        "adapt_cpu_ms": "  of it processor, ms",
        "predict_1_ms": "1 query, ms",
        "predict_75_ms": "75 queries, ms",
        "cold_ms": "start to first adapted prediction, ms",
        "above_import_bytes": "peak memory above import, MB",
        "peak_bytes": "peak memory of the process, MB",
    }
    rows = [["", *subjects, *ratios]]
    for key, title in names.items():
        scale = 1e-6 if key.endswith("bytes") else 1.0
        cells = [_cell(record.get(key), scale) for record in subjects.values()]
        rows.append([title, *cells, *(_cell(ratio.get(key), 1.0) for ratio in ratios.values())])
    rows.append(
        [
            "outputs differ by at most",
            *(f"{r['output_error']:.0e}" for r in subjects.values()),
            *["" for _ in ratios],
        ]
    )
    return table(rows, right=range(1, len(rows[0])))


def _cell(figure: dict[str, float] | None, scale: float) -> str:
    if figure is None:
        return "-"
    median, low, high = (figure[part] * scale for part in ("median", "low", "high"))
    return f"{_short(median)} [{_short(low)}, {_short(high)}]"


def _short(value: float) -> str:
    """Three significant digits, never an exponent."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


COMMAND = Command(
    "bench", "measure latency, memory, cold start and sizes, beside torch where installed", configure, run
)
