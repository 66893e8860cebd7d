"""Which parameters a list of patterns names. Names and shapes in, names out; no tensor is looked at.

A pattern is an fnmatch glob over dotted names ("blocks.*.bias", "*") or a kind: "@head" (the layer called
`head`, else the last one), "@norm+bias" (every tensor of one dimension: scales, shifts and biases), "@last:N"
(the last N layers that own parameters). A layer is what stands before the last dot of a name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from regrow.errors import UnsupportedError

KINDS = ("@head", "@norm+bias", "@last:N")


def select(shapes: Mapping[str, Sequence[int]], patterns: Sequence[str]) -> tuple[str, ...]:
    """Names that any pattern matches, in the order of `shapes`.

    >>> select({"conv.weight": (8, 1, 3, 3), "conv.bias": (8,), "head.weight": (5, 8)}, ["@head", "*.bias"])
    ('conv.bias', 'head.weight')
    """
    if not patterns:
        raise UnsupportedError(
            "adaptable: no pattern given, expected one or more; use '*' for every parameter"
        )
    chosen: set[str] = set()
    for pattern in patterns:
        matched = _matches(shapes, pattern)
        if not matched:
            raise UnsupportedError(_no_match(shapes, pattern))
        chosen |= matched
    return tuple(name for name in shapes if name in chosen)


def _matches(shapes: Mapping[str, Sequence[int]], pattern: str) -> set[str]:
    kind, _, count = pattern.partition(":")
    if kind == "@last" and count.isdecimal() and int(count) > 0:
        last = _layers(shapes)[-int(count) :]
        return {name for name in shapes if _layer(name) in last}
    if pattern == "@head":
        layers = _layers(shapes)
        heads = [layer for layer in layers if layer.split(".")[-1] == "head"] or layers[-1:]
        return {name for name in shapes if _layer(name) in heads}
    if pattern == "@norm+bias":
        return {name for name, shape in shapes.items() if len(shape) == 1}
    if pattern.startswith("@"):
        raise UnsupportedError(
            f"adaptable: {pattern!r} is no kind, expected one of {', '.join(KINDS)} (N from 1) or a glob; "
            "globs do not begin with '@'"
        )
    return {name for name in shapes if fnmatchcase(name, pattern)}


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _layers(shapes: Mapping[str, Sequence[int]]) -> list[str]:
    return list(dict.fromkeys(_layer(name) for name in shapes))


def _no_match(shapes: Mapping[str, Sequence[int]], pattern: str) -> str:
    near = difflib.get_close_matches(pattern, shapes, 3, 0.3) or list(shapes)[-3:]
    return (
        f"adaptable: {pattern!r} matches none of {len(shapes)} parameters, expected a glob over dotted names "
        f"or a kind ({', '.join(KINDS)}); nearest names: {', '.join(near) or 'none, there are no parameters'}"
    )
