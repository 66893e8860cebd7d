"""The self-test of a bundle: an episode that every engine present agrees on with the fp64 reference.

After K steps an engine may have taken a ReLU or a tie the other way and be as right, but a device cannot know
that. So the episode is one without such near ties: the first seed of a fixed row on which every engine is
well within the tolerance, which leaves room for engines and processors that are not here.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from regrow import reference, selftest
from regrow.bundle import Bundle
from regrow.engines import Engine
from regrow.manifest import SelfTest
from regrow_exporter.capture import labelled
from regrow_exporter.deviation import VerificationError
from regrow_exporter.draft import Draft
from regrow_exporter.pack import significant
from regrow_exporter.provers import engines

Figures = tuple[NDArray[np.float32], NDArray[np.float32]]

SEEDS = range(7, 23)
# The test runs on every engine and CPU: it must catch damage, not the last bits of fp32.
TOLERANCE = 1e-2
# Share of the tolerance within which an episode has no near tie that shows.
CLEAR = 0.1
# In a deep network, whose every run takes seconds, many tries for a clear one would be the whole export.
TRIES = 4


def self_test(draft: Draft, steps: int) -> SelfTest:
    """The first clear test of the row; where none is clear, the one that the engines agree on best.

    Where engines disagree among themselves there is a near tie, and no need to ask the reference, which takes
    several times as long: such an episode is judged only where the first few hold no clear one.
    """
    shipped = draft.unwritten()
    started = [engine for engine in engines(shipped).values() if not isinstance(engine, str)]
    best, least = None, np.inf
    for judged, (seed, found) in enumerate(_row(draft, started, shipped), 1):
        test = _self_test(draft, steps, seed)
        share = max(_share(test, figures) for figures in found)
        if share < least:
            best, least = test, share
        if share <= CLEAR or (least <= 1 and judged >= TRIES):
            break
    if best is None or least > 1:
        raise VerificationError(
            f"export: no self-test: of {len(SEEDS)} episodes none comes out alike in fp64 and on every "
            f"engine after {steps} steps, the nearest at {least:.1f} times the tolerance; adapt by fewer or "
            "smaller steps"
        )
    return best


def _row(draft: Draft, started: Sequence[Engine], shipped: Bundle) -> Iterator[tuple[int, list[Figures]]]:
    """Seeds with what the engines make of them, those that they agree on first."""
    ways = max(draft.programs.outputs, 2)
    put_off: list[tuple[float, int, list[Figures]]] = []
    for i, seed in enumerate(SEEDS):
        found = [selftest.figures(shipped, engine, seed, ways, ways) for engine in started]
        apart = _apart(seed, ways, found)
        # Engines that are both clear of the reference are at most twice as far from each other.
        if i >= TRIES or apart <= 2 * CLEAR:
            yield seed, found
        else:
            put_off.append((apart, seed, found))
        if i == TRIES - 1:
            yield from ((s, f) for _, s, f in sorted(put_off, key=lambda row: row[:2]))


def _apart(seed: int, ways: int, found: Sequence[Figures]) -> float:
    """How far the engines are from the first of them, in tolerances; 0 where there is one alone."""
    (losses, logits), *others = found
    wanted = SelfTest(seed, ways, ways, _figures(losses), _figures(logits), TOLERANCE)
    return max((_share(wanted, figures) for figures in others), default=0.0)


def _share(test: SelfTest, figures: Figures) -> float:
    found = selftest.judged(test, *figures).values()
    return max(gap / limit if np.isfinite(gap) else np.inf for gap, limit in found)


def _self_test(draft: Draft, steps: int, seed: int) -> SelfTest:
    """The episode that a device can run, and what the reference makes of it."""
    learner, programs = draft.learner, draft.programs
    ways = max(programs.outputs, 2)
    x, y = selftest.episode(seed, ways, ways, learner.shape)
    target = y if labelled(learner.loss) else np.zeros((ways, programs.outputs), np.float32)
    known, losses = reference.adapt(programs.deployed, {**draft.env, "x": x, "y": target}, steps)
    logits = reference.run(programs.deployed["predict"], known)["logits"][0]
    return SelfTest(seed, ways, ways, _figures(losses), _figures(logits), TOLERANCE)


def _figures(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(significant([float(v) for v in values], 6))
