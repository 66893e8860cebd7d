"""The self-test of a bundle: an episode that every engine present agrees on with the fp64 reference.

After K steps an engine may have taken a ReLU or a tie the other way and be as right, but a device cannot know
that. So the episode is one without such near ties: the first seed of a fixed row on which every engine is
well within the tolerance, which leaves room for engines and processors that are not here.
"""

from collections.abc import Sequence

import numpy as np

from regrow import reference, selftest
from regrow.bundle import Bundle
from regrow.engines import Engine
from regrow.manifest import SelfTest
from regrow_exporter.capture import labelled
from regrow_exporter.deviation import VerificationError
from regrow_exporter.draft import Draft
from regrow_exporter.pack import significant
from regrow_exporter.provers import engines

SEEDS = range(7, 23)
# The test runs on every engine and CPU: it must catch damage, not the last bits of fp32.
TOLERANCE = 1e-2
# Share of the tolerance within which an episode has no near tie that shows.
CLEAR = 0.1
# In a deep network, whose every run takes seconds, many tries for a clear one would be the whole export.
TRIES = 8


def self_test(draft: Draft, steps: int) -> SelfTest:
    """The first clear test of the row; where none is clear, the one that the engines agree on best."""
    shipped = draft.unwritten()
    started = [engine for engine in engines(shipped).values() if not isinstance(engine, str)]
    best, least = None, np.inf
    for seed in SEEDS:
        test = _self_test(draft, steps, seed)
        share = max(_share(engine, shipped, test) for engine in started)
        if share < least:
            best, least = test, share
        if share <= CLEAR or (least <= 1 and seed >= SEEDS[TRIES - 1]):
            break
    if best is None or least > 1:
        raise VerificationError(
            f"export: no self-test: of {len(SEEDS)} episodes none comes out alike in fp64 and on every "
            f"engine after {steps} steps, the nearest at {least:.1f} times the tolerance; adapt by fewer or "
            "smaller steps"
        )
    return best


def _share(engine: Engine, shipped: Bundle, test: SelfTest) -> float:
    found = selftest.gaps(shipped, engine, test).values()
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


def _figures(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(significant([float(v) for v in values], 6))
