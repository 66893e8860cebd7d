"""`regrow prune --sweep`: accuracy against sparsity, bundle bytes and latency, point by point.

Pruning, exporting, comparing and timing each run as a child process that a person could start by hand; what
is done is remembered, so that an interrupted sweep goes on. Sparsity 0, trained as long as the others, is
the dense reference.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from regrow.cli.command import emit, human_bytes, table
from regrow.demo.steps import RECORD as STEPS
from regrow.demo.steps import Step, digest, run_all
from regrow.errors import RegrowError
from regrow.files import atomic_write
from regrow_trainer.sweep_page import draw, page

RECORD, PLOT, PAGE = "sweep.json", "sweep.svg", "sweep.html"


class Point(NamedTuple):
    """One sparsity: what it costs and what it gives; `drop` is dense minus this one, paired by episodes."""

    sparsity: float
    accuracy: float
    half_width: float
    drop: dict[str, Any] | None
    bytes: int
    adapt_ms: float
    pareto: bool = False


def run(args: argparse.Namespace) -> int:
    """Carry out or go on with a sweep, and draw it."""
    shares = parse(args.sweep)
    out: Path = args.out
    if (out / RECORD).exists() and not (args.resume or args.force):
        raise RegrowError(
            f"{out}: holds a sweep already, expected a new folder; add --resume to go on with it, --force to "
            "replace it, or choose another -o"
        )
    ground = digest([Path(args.checkpoint)])
    if args.force:
        anew(out)
    began = time.monotonic()
    for done, share in enumerate(shares):
        left = (time.monotonic() - began) / done * (len(shares) - done) if done else None
        more = "" if left is None else f", about {left / 60:.1f} min left"
        sys.stderr.write(f"\nregrow prune: {share:.0%} of the weights, {done + 1} of {len(shares)}{more}\n")
        run_all(steps(args, share), ground, out, sys.stderr)
    points = front([_point(out, share) for share in shares])
    metric = _json(out / f"{name(0.0)}-compare.json")["files"][0]["metric"]
    data = {
        "checkpoint": args.checkpoint,
        "method": args.method,
        "channels": args.channels,
        "metric": metric,
        "points": [p._asdict() for p in points],
        "machine": _json(out / f"{name(0.0)}-bench.json")["machine"],
    }
    atomic_write(out / RECORD, json.dumps(data, indent=1).encode())
    atomic_write(out / PLOT, draw(data).encode())
    atomic_write(out / PAGE, page(data).encode())
    emit(args, {**data, "plot": str(out / PLOT), "page": str(out / PAGE)}, _text(points, metric, out))
    return 0


def anew(out: Path) -> None:
    """Forget which steps were done; each of them then replaces its files."""
    (out / STEPS).unlink(missing_ok=True)


def parse(text: str) -> list[float]:
    """The shares of a list in increasing order, 0 among them."""
    try:
        shares = sorted({0.0, *(float(part) for part in text.split(","))})
    except ValueError as error:
        raise RegrowError(f"prune: --sweep {text!r}: {error}; expected shares such as 0.3,0.5,0.8") from error
    if not all(0 <= share < 1 for share in shares) or len(shares) < 2:
        raise RegrowError(f"prune: --sweep {text!r}, expected shares between 0 and 1 such as 0.3,0.5,0.8")
    return shares


def steps(args: argparse.Namespace, share: float) -> list[Step]:
    """The commands of one point, in order."""
    out, own = args.out, name(share)
    run, bundle = str(out / own), str(out / f"{own}.regrow")
    dense, percent = str(out / f"{name(0.0)}.regrow"), f"{share:.0%}"
    compare = ("compare", dense, bundle, "--episodes", f"{args.episodes}", "--queries", f"{args.queries}")
    bench = ("bench", bundle, "--repeat", f"{args.repeat}", "--cold", "1", "--only", "native", "onnx")
    told = str(out / f"{own}-compare.json"), str(out / f"{own}-bench.json")
    return [
        Step(f"prune-{own}", f"Prune {percent}", prune_words(args, share, run), (run,),
             resumes=str(Path(run) / "last.safetensors")),
        Step(f"export-{own}", "Export", ("export", f"{run}/best.safetensors", "-o", bundle), (bundle,)),
        Step(f"compare-{own}", f"Adapt to {args.episodes} unseen episodes, paired with the dense one",
             (*compare, "--json"), (), prints=told[0]),
        Step(f"bench-{own}", "Time an adaptation", (*bench, "--json"), (), prints=told[1]),
    ]  # fmt: skip


def prune_words(args: argparse.Namespace, share: float, run: str) -> tuple[str, ...]:
    """The command that prunes to one sparsity; nothing is pruned at 0, so channels are left whole."""
    flags = [f"--{flag}" for flag in ("channels", "rewind") if getattr(args, flag) and share]
    device = ("--device-scope", args.device_scope) if args.device_scope else ()
    how = ("workers", "memory_limit")
    given = [word for name in how if (v := getattr(args, name)) for word in (_flag(name), f"{v}")]
    where = ("--device", args.device) if args.device != "auto" else ()
    sets = [word for pair in args.set for word in ("--set", pair)]
    method = args.method if share else "magnitude"
    return (
        *("prune", args.checkpoint, "--sparsity", f"{share:.6g}", "--method", method, "--scope", args.scope),
        *("--schedule", args.schedule, "--retrain", f"{args.retrain}", "-o", run),
        *flags, *device, *where, *given, *sets,
    )  # fmt: skip


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def front(points: Sequence[Point]) -> list[Point]:
    """Marks whom no other beats: at least as accurate, small and quick, and better in one of these."""

    def beaten(p: Point) -> bool:
        ours = (-p.accuracy, p.bytes, p.adapt_ms)
        others = [(-q.accuracy, q.bytes, q.adapt_ms) for q in points]
        return any(o != ours and all(a <= b for a, b in zip(o, ours, strict=True)) for o in others)

    return [p._replace(pareto=not beaten(p)) for p in points]


def name(share: float) -> str:
    """What a point's files are called."""
    return f"{100 * share:.4g}-percent"


def _point(out: Path, share: float) -> Point:
    own = name(share)
    compared, timed = _json(out / f"{own}-compare.json"), _json(out / f"{own}-bench.json")
    file = compared["files"][1]
    better = 1 if file["metric"] == "accuracy" else -1
    adapt = min(s["adapt_ms"]["median"] for s in timed["subjects"].values())
    drop = compared["difference"] if share else None
    half = file["half_width"] or 0.0
    return Point(share, better * file["mean"], half, drop, (out / f"{own}.regrow").stat().st_size, adapt)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _text(points: Sequence[Point], metric: str, out: Path) -> str:
    scale, unit = (100.0, " %") if metric == "accuracy" else (-1.0, "")
    rows = [["pruned", metric, "95 %", "against dense", "bundle", "adaptation", ""]]
    for p in points:
        gap = "-" if p.drop is None else f"{abs(scale) * p.drop['mean']:+.2f}"
        rows.append(
            [f"{p.sparsity:.0%}", f"{scale * p.accuracy:.2f}{unit}", f"± {abs(scale) * p.half_width:.2f}",
             gap + ("" if p.drop is None or p.drop["real"] else " (may be chance)"), human_bytes(p.bytes),
             f"{p.adapt_ms:.2f} ms", "on the front" if p.pareto else ""]
        )  # fmt: skip
    return f"{table(rows, right=(1, 2, 4, 5))}\n{out / PLOT}\n{out / PAGE}"
