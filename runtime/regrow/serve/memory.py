"""Keep memory bounded under glibc, which holds on to what was freed: per thread, and between other blocks."""

from __future__ import annotations

import ctypes
from typing import Any

# Threads come and go here, so without a bound there were soon eight heaps per core, each with megabytes of
# freed memory. One for the main thread and one for all others hold the same, and wait for each other rarely.
HEAPS = 2
# From this size on a block is mapped by itself and gone when freed. Left alone, glibc raises the size to that
# of the largest block it has seen; then small ones that stay cut up the room of large ones that go.
LARGE = 256 * 2**10
# Names of malloc.h: M_ARENA_MAX, M_MMAP_THRESHOLD.
_ARENA_MAX, _MMAP_THRESHOLD = -8, -3


def keep_small() -> bool:
    """Set this process up so, before its threads start; False where the C library is another."""
    mallopt = _function("mallopt", ctypes.c_int, ctypes.c_int)
    return mallopt is not None and bool(mallopt(_ARENA_MAX, HEAPS) & mallopt(_MMAP_THRESHOLD, LARGE))


def give_back() -> bool:
    """Return what is freed but held to the system; False where the C library is another."""
    trim = _function("malloc_trim", ctypes.c_size_t)
    if trim is not None:
        trim(0)
    return trim is not None


def _function(name: str, *takes: Any) -> Any:
    """One of glibc that returns an int, or None: others name their functions alike but mean other things."""
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 (asks whether there is one)
        found = libc[name]
    except (OSError, AttributeError, TypeError):
        return None
    found.argtypes, found.restype = list(takes), ctypes.c_int
    return found
