"""What `adapt` and `predict` share: engine options, and samples with their labels from a person's files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.errors import SampleError

if TYPE_CHECKING:
    from regrow.manifest import InputSpec


def add_engine(parser: argparse.ArgumentParser) -> None:
    """--engine and --threads."""
    parser.add_argument("--engine", default="auto", help="auto (default) or the name of an engine")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of the engine (default: 1)"
    )


def say_engine(note: str) -> None:
    """Tell on stderr why "auto" did not take the engine it would rather have."""
    if note:
        print(f"regrow: auto: {note}", file=sys.stderr)


def labelled(
    path: str, spec: InputSpec, labels_file: str | None, *, required: bool = True
) -> tuple[Any, Any]:
    """Samples as the model takes them, and a label for each; None where they may have none."""
    from regrow.episodes.readers import load_samples

    read = load_samples(path, spec.shape, labelled=required and labels_file is None, invert=spec.invert)
    return read.x, labels_of(labels_file, read.labels)


def labels_of(path: str | None, found: Any) -> Any:
    """The labels in a file where one is named, else those found with the samples."""
    if path is None:
        return found
    import numpy as np

    try:
        if Path(path).suffix == ".npy":
            return np.load(path, allow_pickle=False)
        words = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, EOFError) as error:
        raise SampleError(
            f"{path}: cannot be read ({error}), expected .npy or text with a label per line; check the file"
        ) from error
    return [int(word) for word in words] if all(w.isascii() and w.isdigit() for w in words) else words
