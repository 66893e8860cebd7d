"""regrow demo: walk from training to an adapted device with the commands a person would type, and show it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.cli.command import Command, emit, table

if TYPE_CHECKING:
    from regrow.demo.results import Results


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--out", default="demo", type=Path, metavar="FOLDER", help="where all goes (default: demo)"
    )
    parser.add_argument(
        "--fast", action="store_true", help="too little training to be good: to see that it works"
    )


def run(args: argparse.Namespace) -> int:
    """Do or reuse every step, then draw the page."""
    import json

    import regrow
    from regrow.demo import charts, page, walk
    from regrow.demo.collect import collect
    from regrow.demo.steps import digest, run_all
    from regrow.files import atomic_write

    plan = walk.FAST if args.fast else walk.Plan()
    recipe = walk.find_recipe()
    todo = walk.steps(args.out, recipe, plan)
    ground = f"{regrow.__version__} {digest([recipe, *walk.sources()])}"
    seconds = run_all(todo, ground, args.out, sys.stderr if args.json else sys.stdout)
    results = collect(args.out, plan, todo, seconds)
    atomic_write(args.out / "results.json", json.dumps(results, indent=1).encode())
    html = page.render(results, charts.draw(results, args.out))
    atomic_write(args.out / "report.html", html.encode())
    emit(args, _facts(results, args.out), _text(results, args.out))
    return 0


def _facts(results: Results, out: Path) -> dict[str, Any]:
    """The results without the pictures, and where the page is."""
    return {**{k: v for k, v in results.items() if k != "episode"}, "report": str(out / "report.html")}


def _text(results: Results, out: Path) -> str:
    from regrow.demo.page import interval, kilobytes, percent, sparsity

    head = ["", "shots", "before", "after", *results["accuracy"][0]["controls"]]
    rows = [
        [
            r["model"],
            f"{r['shots']}",
            percent(r["before"]),
            percent(r["after"]),
            *map(percent, r["controls"].values()),
        ]
        for r in results["accuracy"]
    ]
    peers = [["", "adapt, ms", "peak memory, MB", "cold start, ms"]]
    peers += [
        [p["name"], interval(p["adapt_ms"]), interval(p["peak_bytes"], 1e-6), interval(p["cold_ms"])]
        for p in results["peers"]
    ]
    sizes = results["sizes"]
    return "\n".join(
        [
            f"\n{results['accuracy'][0]['episodes']} episodes of {results['n_way']} unseen classes, "
            "95 % intervals",
            table([head, *rows], right=range(1, len(head))),
            "",
            table(peers, right=(1, 2, 3)),
            "",
            f"{sparsity(results):.0%} pruned: bundle {kilobytes(sizes['bundle_pruned'])}; dense bundle "
            f"{kilobytes(sizes['bundle_dense'])}, dense ONNX {kilobytes(sizes['onnx_dense'])}",
            f"{sum(results['seconds'].values()):.0f} s of work; see {out / 'report.html'}",
        ]
    )


COMMAND = Command(
    "demo",
    "train, prune, export, adapt without torch, and show what happened",
    configure,
    run,
    (
        ("torch", "train"),
        ("pydantic", "train"),
        ("onnx", "train"),
        ("onnxruntime", "onnx"),
        ("matplotlib", "bench"),
    ),
)
