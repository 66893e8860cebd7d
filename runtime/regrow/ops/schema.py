"""What an op must say about itself: output shapes, and a numpy reference. No engine lives here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from regrow.program import Attr, Value

Array = NDArray[Any]
Attrs = Mapping[str, Attr]
# Outputs nobody asked for are still shaped and computed; a program drops them by naming them "".
Shape = Callable[[Sequence[Value], Attrs], list[Value]]
Forward = Callable[[Sequence[Array], Attrs], list[Array]]
Decide = Callable[[Sequence[Array], Sequence[Array], Attrs], Array]


@dataclass(frozen=True)
class OpSchema:
    """Shape rule, reference, and for ops that branch on values, which branch each element took."""

    shape: Shape
    forward: Forward
    decide: Decide | None = None


def ints(attrs: Attrs, key: str) -> tuple[int, ...]:
    """A tuple-of-int attribute."""
    value = attrs[key]
    if not isinstance(value, tuple):
        raise TypeError(f"attribute {key}: {value!r} is not a tuple of ints")
    return tuple(int(v) for v in value)


def number(attrs: Attrs, key: str) -> float:
    """A scalar attribute as a float."""
    value = attrs[key]
    if isinstance(value, (tuple, str)):
        raise TypeError(f"attribute {key}: {value!r} is not a number")
    return float(value)


def flag(attrs: Attrs, key: str) -> int:
    """A yes-or-no attribute as 1 or 0."""
    return int(bool(attrs[key]))


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Numpy's broadcasting rule over symbolic dimensions (equal, or one of them 1)."""
    rank = max(len(a), len(b))
    left, right = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    out = []
    for i, j in zip(left, right, strict=True):
        if i != j and 1 not in (i, j):
            raise ValueError(f"shapes {a} and {b} do not broadcast")
        out.append(j if i == 1 else i)
    return tuple(out)


def same(values: Sequence[Value], _: Attrs) -> list[Value]:
    """Output shaped like the first input."""
    return [Value(values[0].shape, values[0].dtype)]


def per_channel(vector: Array, rank: int) -> Array:
    """(C,) -> (1, C, 1, ...) so that it broadcasts over a batch of `rank` dimensions."""
    return vector.reshape(1, -1, *[1] * (rank - 2))


def not_channel(rank: int) -> tuple[int, ...]:
    """Every axis but the channel."""
    return (0, *range(2, rank))
