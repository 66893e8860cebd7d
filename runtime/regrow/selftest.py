"""The episode every bundle can rebuild for itself: inputs from an integer generator, so they cost no bytes.

Sample `i`, element `j` is `(noise(i) + pattern(class)) / 2` with both in [0, 1): the 24 high bits of the
32-bit mix of a counter. Integer arithmetic only, so every platform makes the same bits.
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

from regrow.bundle import Bundle
from regrow.engines import Engine
from regrow.manifest import SelfTest


def mix(counter: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A bijective 32-bit hash (xor-shift and multiply, twice)."""
    z = counter * np.uint32(0x9E3779B1)
    z = (z ^ (z >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    z = (z ^ (z >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return z ^ (z >> np.uint32(16))


def uniform(seed: int, row: int, count: int) -> NDArray[np.float32]:
    """`count` floats in [0, 1), exact multiples of 2**-24."""
    start = mix(np.array([seed * 65537 + row], np.uint64).astype(np.uint32))[0]
    counter = start + np.arange(count, dtype=np.uint32)
    return (mix(counter) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def episode(
    seed: int, support: int, ways: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`support` samples that cycle through `ways` classes, each half its class's pattern, half noise."""
    size = prod(shape)
    x = np.empty((support, size), np.float32)
    y = np.arange(support, dtype=np.int64) % ways
    for i in range(support):
        x[i] = (uniform(seed, 1000 + i, size) + uniform(seed, int(y[i]), size)) * np.float32(0.5)
    return x.reshape(support, *shape), y


def check(bundle: Bundle, engine: Engine) -> str | None:
    """Adapt and predict on the self-test episode; None where the bundle's figures come back, else the gap."""
    for what, (gap, limit) in gaps(bundle, engine, bundle.manifest.selftest).items():
        if not gap <= limit:
            return f"{what} differ by {gap:.2e} from the bundle's own, expected at most {limit:.2e}"
    return None


def gaps(bundle: Bundle, engine: Engine, test: SelfTest) -> dict[str, tuple[float, float]]:
    """How far the engine is from what a self-test expects of losses and logits, and how far it may be."""
    return judged(test, *figures(bundle, engine, test.seed, test.support, test.ways))


def judged(
    test: SelfTest, losses: NDArray[np.float32], logits: NDArray[np.float32]
) -> dict[str, tuple[float, float]]:
    """The same of what an engine made of the episode."""
    found: dict[str, tuple[float, float]] = {}
    for what, made, expected in (("losses", losses, test.losses), ("logits", logits, test.logits)):
        want = np.array(expected, np.float32)
        limit = test.tolerance * max(1.0, float(np.abs(want).max(initial=0.0)))
        found[what] = float(np.abs(made - want).max(initial=0.0)), limit
    return found


def figures(
    bundle: Bundle, engine: Engine, seed: int, support: int, ways: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What an engine makes of an episode: the loss before each step, and the first sample's logits after."""
    made = bundle.manifest
    x, y = episode(seed, support, ways, made.input.shape)
    active = np.ones(made.output.shape, np.bool_) if made.task == "classification" else None
    target = y if active is not None else np.zeros((support, *made.output.shape), np.float32)
    params = {p.name: bundle.params[p.name] for p in made.parameters if p.adaptable != "none"}
    adapted = engine.adapt(x, target, active, params, bundle.state, made.rule.steps)
    # The whole support set: a transductive bundle normalises by what it is asked about.
    logits = engine.predict(x, adapted.params, adapted.statistics)[0]
    return np.asarray(adapted.losses), np.asarray(logits)
