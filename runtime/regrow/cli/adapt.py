"""regrow adapt: learn from a file or folder of labelled samples and write a delta."""

from __future__ import annotations

import argparse
from typing import Any

from regrow.cli.command import Command, add_force, byte_count, emit, human_bytes, refuse_overwrite
from regrow.cli.inputs import add_engine, labelled, say_engine


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("bundle", help="a .regrow file")
    parser.add_argument("support", help="labelled samples: .npz, .npy, .csv, or a folder per class")
    parser.add_argument("-o", "--output", required=True, metavar="DELTA", help="where the delta goes")
    parser.add_argument("--delta", metavar="DELTA", help="continue from this delta, not from the bundle")
    parser.add_argument("--labels", metavar="FILE", help="labels: .npy, or a text file with one per line")
    parser.add_argument("--steps", type=int, metavar="N", help="update steps (default: as the bundle says)")
    parser.add_argument("--budget", type=byte_count, metavar="SIZE", help="memory allowed, such as 64KiB")
    add_engine(parser)
    add_force(parser)


def run(args: argparse.Namespace) -> int:
    """Adapt, save, report."""
    import regrow

    refuse_overwrite([args.output], args.force)
    model = regrow.open(args.bundle, engine=args.engine, budget_bytes=args.budget, threads=args.threads)
    say_engine(model.engine_note)
    session = model.session(args.delta)
    x, y = labelled(args.support, model.input, args.labels)
    report = session.adapt(x, y, steps=args.steps)
    digest = session.save(args.output)
    facts = {
        "delta": args.output,
        "digest": digest,
        "bundle": model.digest,
        "engine": report.engine,
        "samples": report.samples,
        "classes": session.counts,
        "adaptations": session.adaptations,
        "steps": report.steps,
        "losses": [float(loss) for loss in report.losses],
        "loss": report.loss,
        "elapsed_ms": report.elapsed_ms,
        "peak_bytes": report.peak_bytes,
        "memory": report.memory,
    }
    emit(args, facts, _text(facts))
    return 0


def _text(facts: dict[str, Any]) -> str:
    classes = f" of {len(facts['classes'])} classes" if facts["classes"] else ""
    return (
        f"{facts['delta']}: learned {facts['samples']} samples{classes} in {facts['steps']} steps, "
        f"loss {facts['losses'][0]:.4g} -> {facts['loss']:.4g}, {facts['elapsed_ms']:.0f} ms, "
        f"{human_bytes(facts['peak_bytes'])} peak ({facts['memory']}) on {facts['engine']}"
    )


COMMAND = Command("adapt", "learn from a few labelled samples and save what was learned", configure, run)
