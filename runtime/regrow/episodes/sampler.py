"""Draw episodes: (source, sizes, seed, index) -> Episode, a pure function with the same answer everywhere.

Episode `index` needs none before it, so any process can draw any part of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from regrow.episodes.draws import Draws
from regrow.episodes.mixture import Mixture
from regrow.episodes.source import BlockedSource, ClassSource, Episode, GroupSource, Source, TurningSource
from regrow.errors import SampleError


def sample(source: Source | Mixture, n_way: int, k_shot: int, queries: int, seed: int, index: int) -> Episode:
    """Draw one episode with `k_shot` support and `queries` query samples per class, none in both.

    A task source has no classes: there n_way is 1. Of a group source, one group is drawn;
    of a mixture, `seed` and `index` choose the source.
    """
    if isinstance(source, Mixture):
        source = source.choose(seed, index)
    _check(source, n_way, k_shot, queries, index)
    if source.task == "regression":
        return source.episode(k_shot, queries, seed, index)
    draws = Draws("episode", seed, index)
    in_order = False
    if isinstance(source, GroupSource):
        in_order = n_way == source.n_classes
        source = source.group(int(draws.below(1, len(source.groups))[0]))
    chosen = list(range(n_way)) if in_order else [int(c) for c in draws.order(source.n_classes)[:n_way]]
    turns = _turns(source, n_way, seed, index)
    support, query = [], []
    sitting: set[int] = set()
    for c, quarter in zip(chosen, turns, strict=True):
        picks = _picks(source, c, k_shot, queries, draws, sitting)
        x = np.rot90(source.take(c, picks), quarter, axes=(-2, -1)) if quarter else source.take(c, picks)
        support.append(x[:k_shot])
        query.append(x[k_shot:])
    labels = np.arange(n_way, dtype=np.int64)
    return Episode(
        support_x=np.concatenate(support),
        support_y=np.repeat(labels, k_shot),
        query_x=np.concatenate(query),
        query_y=np.repeat(labels, queries),
        classes=tuple(source.classes[c] for c in chosen),
    )


def _turns(source: ClassSource, n_way: int, seed: int, index: int) -> list[int]:
    """Quarter turns, one per class; from a stream of their own, so the samples are those of the upright."""
    if not (isinstance(source, TurningSource) and source.turning):
        return [0] * n_way
    return [int(quarter) for quarter in Draws("turns", seed, index).below(n_way, 4)]


def episodes(
    source: Source, n_way: int, k_shot: int, queries: int, seed: int, *, start: int = 0, count: int
) -> Iterator[Episode]:
    """Episodes `start` .. `start + count - 1` of one seed, in order."""
    for index in range(start, start + count):
        yield sample(source, n_way, k_shot, queries, seed, index)


def _check(source: Source, n_way: int, k_shot: int, queries: int, index: int) -> None:
    if k_shot < 1:
        raise SampleError(f"episode: k_shot is {k_shot}, expected 1 or more; ask for at least one")
    if queries < 0 or index < 0:
        raise SampleError(f"episode: queries {queries}, index {index}: expected 0 or more; raise it")
    if source.task == "regression":
        if n_way != 1:
            raise SampleError(f"episode: n_way is {n_way}, but regression has no classes; use 1")
    elif not 2 <= n_way <= source.n_classes:
        raise SampleError(
            f"episode: n_way is {n_way}, expected 2 to {source.n_classes} (the classes of this source); "
            "ask for fewer ways or open a source with more classes"
        )


def _picks(
    source: ClassSource, c: int, k_shot: int, queries: int, draws: Draws, sitting: set[int]
) -> NDArray[np.int64]:
    """Support, then query samples of one class; no block on both sides.

    `sitting` holds the blocks that gave support to earlier classes, which give it to this one first: someone
    who shows a device eight gestures does so in one session.
    """
    _check_class(source, c, k_shot, queries)
    order = draws.order(source.samples(c))
    blocks = source.blocks(c) if isinstance(source, BlockedSource) else None
    if blocks is None:
        return order[: k_shot + queries]
    # Support from as few blocks as possible, in drawn order, so that most are left to ask about.
    first = {int(b): i for i, b in reversed(list(enumerate(blocks[order])))}
    ranks = {b: at - len(order) * (b in sitting) for b, at in first.items()}
    together = order[np.argsort([ranks[int(b)] for b in blocks[order]], kind="stable")]
    support = together[:k_shot]
    sitting.update(blocks[support].tolist())
    rest = order[~np.isin(blocks[order], blocks[support])]
    if len(rest) < queries:
        raise SampleError(
            f"episode: class {source.classes[c]!r} has {len(rest)} samples outside the blocks of its "
            f"support, expected at least {queries}; ask for fewer shots or queries"
        )
    return np.concatenate([support, rest[:queries]])


def _check_class(source: ClassSource, c: int, k_shot: int, queries: int) -> None:
    have = source.samples(c)
    if have < k_shot + queries:
        raise SampleError(
            f"episode: class {source.classes[c]!r} has {have} samples, expected at least {k_shot + queries} "
            f"(k_shot {k_shot} + queries {queries}); ask for fewer shots or queries"
        )
