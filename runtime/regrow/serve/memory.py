"""Keep memory bounded under glibc, whose every thread may get a heap of its own that keeps what was freed."""

from __future__ import annotations

import ctypes
from typing import Any

# Threads come and go here, so without a bound there were soon eight heaps per core, each with megabytes of
# freed memory. One for the main thread and one for all others hold the same, and wait for each other rarely.
HEAPS = 2
_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h


def share_heaps() -> bool:
    """Bound the heaps of this process, before its threads start; False where the C library is another."""
    mallopt = _function("mallopt", ctypes.c_int, ctypes.c_int)
    return mallopt is not None and bool(mallopt(_ARENA_MAX, HEAPS))


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
