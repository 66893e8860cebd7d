"""What sets a recipe to other pictures than its own."""

from __future__ import annotations

# A recipe of Omniglot for photographs, and Reptile's for as large ones as its authors trained it on.
PHOTOGRAPHS = ("data.args={}", "queries=15", "input.mean=0.5", "input.std=0.25")
REPTILE = ("rule.args.lr=0.01", "learner.steps=50", "train.steps=8")


def pictures(source: str) -> tuple[str, ...]:
    """The three parts of a source, as a recipe's settings."""
    parts = (("train", "train"), ("validation", "val"), ("test", "test"))
    return tuple(f"data.{key}={source}:{part}" for key, part in parts)
