"""Class and user lists of the splits that are published, or our own: plain text, one name per line."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from regrow.errors import SampleError

PARTS = ("train", "val", "test")


@cache
def load(name: str) -> dict[str, tuple[str, ...]]:
    """The parts of a split by name. Lines that begin with '#' say where it is from."""
    text = (files(__package__) / "splits" / f"{name}.txt").read_text(encoding="utf-8")
    made: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            made[line[1:-1]] = []
        elif line and not line.startswith("#"):
            made[next(reversed(made))].append(line)
    return {part: tuple(names) for part, names in made.items()}


def names(split: str, part: str, place: str) -> tuple[str, ...]:
    """The names of one part; "trainval" is train and val together."""
    parts = load(split)
    wanted = ("train", "val") if part == "trainval" else (part,)
    if not set(wanted) <= set(parts):
        raise SampleError(f"{place}: no part {part!r}, expected one of {', '.join([*parts, 'trainval'])}")
    return tuple(name for p in wanted for name in parts[p])
