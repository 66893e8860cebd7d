"""regrow adapt: learn from a file or folder of labelled samples, or one more class, and write a delta."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from regrow.cli.command import Command, add_force, byte_count, emit, human_bytes, refuse_overwrite
from regrow.cli.inputs import add_engine, labelled, say_engine
from regrow.errors import UnsupportedError

if TYPE_CHECKING:
    from regrow.growth import ClassReport
    from regrow.session import Session


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("bundle", help="a .regrow file")
    parser.add_argument("support", help="labelled samples: .npz, .npy, .csv, or a folder per class")
    parser.add_argument("-o", "--output", required=True, metavar="DELTA", help="where the delta goes")
    parser.add_argument("--delta", metavar="DELTA", help="continue from this delta, not from the bundle")
    parser.add_argument("--labels", metavar="FILE", help="labels: .npy, or a text file with one per line")
    parser.add_argument(
        "--add-class",
        metavar="NAME",
        help="learn this new class alone, on a metric head; samples labelled otherwise are held back, to say "
        "what it costs the classes already known",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="update steps (default: as the bundle says)")
    parser.add_argument("--budget", type=byte_count, metavar="SIZE", help="memory allowed, such as 64KiB")
    parser.add_argument(
        "--plan",
        choices=["auto", "fast", "small", "small-fp16"],
        default="auto",
        help="the native engine's: small takes about half of the memory, small-fp16 less again by rounding "
        "what is kept; auto is small where only that fits --budget (default: auto)",
    )
    add_engine(parser)
    add_force(parser)


def run(args: argparse.Namespace) -> int:
    """Adapt, save, report."""
    import regrow

    refuse_overwrite([args.output], args.force)
    model = regrow.open(
        args.bundle, engine=args.engine, budget_bytes=args.budget, threads=args.threads, plan=args.plan
    )
    say_engine(model.engine_note)
    session = model.session(args.delta)
    x, y = labelled(args.support, model.input, args.labels, required=args.add_class is None)
    if args.add_class is None:
        report, grown = session.adapt(x, y, steps=args.steps), {}
    else:
        if args.steps is not None:
            raise UnsupportedError("--add-class: a class is fitted at once, not in --steps; leave one out")
        added = session.add_class(_name(args.add_class, y, session), x, y)
        report, grown = added.fit, {"added": _added(args.add_class, added)}
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
        **grown,
    }
    emit(args, facts, _text(facts))
    return 0


def _name(text: str, labels: Any, session: Session) -> str | int:
    """A class is numbered where the others, or the labels of its own samples, are numbers."""
    import numpy as np

    known = session.classes
    unnamed = known is not None and known.names is None
    numbers = known is not None and (known.seen > 0 or np.asarray(labels).dtype.kind in "iu")
    return int(text) if unnamed and numbers and text.isascii() and text.isdigit() else text


def _added(name: str, report: ClassReport) -> dict[str, Any]:
    return {
        "class": name,
        "held_back": report.held_back,
        "accuracy_before": report.before,
        "accuracy_after": report.after,
    }


def _text(facts: dict[str, Any]) -> str:
    classes = f" of {len(facts['classes'])} classes" if facts["classes"] else ""
    added, steps = facts.get("added"), facts["steps"]
    if added:
        classes = f" of class {added['class']}, {len(facts['classes'])} classes in all,"
    text = (
        f"{facts['delta']}: learned {facts['samples']} samples{classes} in {steps} step{'s' * (steps != 1)}, "
        f"loss {facts['losses'][0]:.4g} -> {facts['loss']:.4g}, {facts['elapsed_ms']:.0f} ms, "
        f"{human_bytes(facts['peak_bytes'])} peak ({facts['memory']}) on {facts['engine']}"
    )
    if added and added["held_back"]:
        text += (
            f"\n{added['held_back']} held-back samples of known classes: accuracy "
            f"{added['accuracy_before']:.4f} -> {added['accuracy_after']:.4f}"
        )
    return text


COMMAND = Command("adapt", "learn from a few labelled samples and save what was learned", configure, run)
