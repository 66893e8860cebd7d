"""Settings of the process for a long run of the same allocations, thousands of times a second.

glibc gives large blocks back to the system at once, and every new one then costs a page fault per 4 KB: a
fifth of the time of a meta-gradient. Python's collector would look through everything that was imported,
again and again.
"""

from __future__ import annotations

import ctypes
import gc
import platform

# Of malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_MB = 2**20


def settle() -> bool:
    """For the rest of the process; whether the C library took it, which is glibc's alone to do."""
    gc.freeze()
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = (
        (_MMAP_THRESHOLD, 32 * _MB),  # the most it accepts
        (_TRIM_THRESHOLD, 2047 * _MB),
        (_TOP_PAD, 64 * _MB),
        # One heap for all threads: those of the others are limited to 64 MB, beyond which they map anew.
        (_ARENA_MAX, 1),
    )
    return all([mallopt(name, value) for name, value in settings])
