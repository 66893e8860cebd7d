"""Random numbers that are the same on every platform and for ever: splitmix64 over a counter.

The i-th number of a stream is mix(key + i * GAMMA) in 64-bit integer arithmetic, where the key is folded
from the words that name the stream. Floats are exact: the top 53 bits times 2**-53. No generator of numpy
is used, because their streams may change between versions. Not for secrets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _key(words: tuple[int | str, ...]) -> int:
    """Fold words into 64 bits; each step is one splitmix64 output, so ("a", 1, 2) and ("a", 2, 1) differ."""
    key = 0
    for word in words:
        number = word if isinstance(word, int) else int.from_bytes(word.encode(), "little")
        z = ((key ^ (number & _MASK)) + GAMMA) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        key = z ^ (z >> 31)
    return key


class Draws:
    """A stream named by words (whole numbers, or texts of up to 8 bytes); every call moves it on.

    >>> [int(v) for v in Draws("demo", 1).below(4, 10)]
    [4, 6, 2, 4]
    """

    def __init__(self, *words: int | str) -> None:
        self._key = np.uint64(_key(words))
        self._next = 1

    def bits(self, count: int) -> NDArray[np.uint64]:
        """The next `count` numbers of 64 random bits."""
        z = np.arange(self._next, self._next + count, dtype=np.uint64)
        self._next += count
        z *= np.uint64(GAMMA)
        z += self._key
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        return z

    def below(self, count: int, bound: int) -> NDArray[np.int64]:
        """`count` whole numbers in [0, bound), bound < 2**32; the bias is below bound / 2**32."""
        high = self.bits(count) >> np.uint64(32)
        return ((high * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
        """Floats in [low, high), filled in C order."""
        count = 1
        for size in shape:
            count *= size
        unit = (self.bits(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return (low + (high - low) * unit).reshape(shape)

    def order(self, count: int) -> NDArray[np.int64]:
        """A random order of 0 .. count-1: the ranks of `count` random numbers."""
        return np.argsort(self.bits(count), kind="stable").astype(np.int64)
