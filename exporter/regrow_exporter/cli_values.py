"""What the options of `regrow export` mean: text from the command line as the values that `export` takes."""

from __future__ import annotations

import argparse
import json
from typing import Any

from regrow.errors import UnsupportedError


def loss_args(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the loss that were given."""
    import numpy as np

    given: dict[str, Any] = {}
    if args.label_smoothing is not None:
        given["label_smoothing"] = args.label_smoothing
    if args.class_weights:
        text = args.class_weights
        try:
            file = text.endswith(".npy")
            given["weight"] = np.load(text) if file else [float(part) for part in text.split(",")]
        except (OSError, ValueError) as error:
            raise UnsupportedError(
                f"export: --class-weights {text}: {error}; expected a .npy file or numbers such as 1,2,1"
            ) from error
    return given


def head(text: str) -> str | None:
    return None if text == "none" else text


def rule_args(pairs: list[str]) -> dict[str, Any]:
    """Numbers and truth values as JSON spells them; anything else is text."""
    made: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UnsupportedError(f"--rule-arg {pair!r}: expected KEY=VALUE, e.g. distance=cosine")
        try:
            made[key] = json.loads(value)
        except ValueError:
            made[key] = value
    return made


def masks(given: str | None) -> Any:
    if given in (None, "zeros"):
        return given
    from safetensors.torch import load_file

    return {name.removesuffix("_mask"): mask for name, mask in load_file(str(given)).items()}
