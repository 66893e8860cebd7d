"""regrow predict: label a file or folder of samples with a bundle, as a delta left it where one is given."""

from __future__ import annotations

import argparse
import csv
import io
import math
from typing import TYPE_CHECKING, Any

from regrow.cli.command import Command, add_force, emit, refuse_overwrite, table
from regrow.cli.inputs import add_engine, labels_of, say_engine

if TYPE_CHECKING:
    from regrow.inference import Prediction


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("bundle", help="a .regrow file")
    parser.add_argument("query", help="samples: .npz, .npy, .csv, an image, or a folder of images")
    parser.add_argument("--delta", metavar="DELTA", help="what a session learned")
    parser.add_argument("--csv", metavar="FILE", help="write the predictions here, not to the screen")
    parser.add_argument(
        "--labels", metavar="FILE", help="true labels: .npy, or a text file with one per line"
    )
    add_engine(parser)
    add_force(parser)


def run(args: argparse.Namespace) -> int:
    """Predict and print, or write a CSV file."""
    import regrow
    from regrow.episodes.readers import load_samples
    from regrow.files import atomic_write

    refuse_overwrite([args.csv], args.force)
    model = regrow.open(args.bundle, engine=args.engine, threads=args.threads)
    say_engine(model.engine_note)
    session = model.session(args.delta)
    read = load_samples(args.query, model.input.shape, labelled=False, invert=model.input.invert)
    prediction = session.predict(read.x)
    rows = _rows(read.names, prediction)
    facts: dict[str, Any] = {"bundle": model.digest, "engine": model.engine.name, "predictions": rows}
    facts |= _score(prediction, labels_of(args.labels, read.labels))
    if args.csv:
        atomic_write(args.csv, _csv(rows).encode())
        facts["csv"] = args.csv
    emit(args, facts, _text(facts, args.csv))
    return 0


def _rows(names: list[str], made: Prediction) -> list[dict[str, Any]]:
    """One row per query: label and probability, or for regression the values."""
    if made.labels is None or made.probabilities is None:
        return [
            {"sample": name} | {f"value_{i}": float(v) for i, v in enumerate(values.ravel())}
            for name, values in zip(names, made.logits, strict=True)
        ]
    return [
        {"sample": name, "label": label, "probability": float(row.max())}
        for name, label, row in zip(names, made.labels.tolist(), made.probabilities, strict=True)
    ]


def _score(made: Prediction, truth: Any) -> dict[str, float]:
    """Accuracy (or mean squared error) where the file says what is right."""
    import numpy as np

    if truth is None:
        return {}
    if made.labels is None:
        return {"mse": float(np.mean((made.logits - np.asarray(truth).reshape(made.logits.shape)) ** 2))}
    # A folder or CSV spells every label as text.
    right = [str(a) == str(b) for a, b in zip(made.labels.tolist(), truth, strict=True)]
    return {"accuracy": math.fsum(right) / len(right)}


def _csv(rows: list[dict[str, Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _text(facts: dict[str, Any], written: str | None) -> str:
    rows = facts["predictions"]
    shown = [[f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    lines = [f"{written}: {len(rows)} predictions"] if written else [table([list(rows[0]), *shown])]
    lines += [
        f"{name} {facts[name]:.4f} on {len(rows)} samples" for name in ("accuracy", "mse") if name in facts
    ]
    return "\n".join(lines)


COMMAND = Command(
    "predict", "label samples, with what a session learned where a delta is given", configure, run
)
