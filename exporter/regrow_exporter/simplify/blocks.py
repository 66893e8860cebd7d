"""How the axes of a reshaped value come from those of the value before."""

from collections.abc import Iterator, Sequence

Axes = tuple[int, ...]


def blocks(source: Sequence[int], target: Sequence[int]) -> Iterator[tuple[Axes, Axes]]:
    """Groups of axes that hold the same elements, as small as they can be; axes of size 1 belong to none.

    A group in which the batch meets other axes has them all.
    """
    left = [(a, d) for a, d in enumerate(source) if d != 1]
    right = [(a, d) for a, d in enumerate(target) if d != 1]
    while left or right:
        mine, theirs = [left.pop(0)] if left else [], [right.pop(0)] if right else []
        while _size(mine) != _size(theirs):
            short, rest = (mine, left) if _size(mine) < _size(theirs) else (theirs, right)
            if not rest:
                short, rest = (theirs, right) if short is mine else (mine, left)
            short.append(rest.pop(0))
        yield tuple(a for a, _ in mine), tuple(a for a, _ in theirs)


def _size(axes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Elements, and how many of the axes depend on the batch."""
    product = 1
    for _, d in axes:
        product *= abs(d)
    return product, sum(d < 0 for _, d in axes)
