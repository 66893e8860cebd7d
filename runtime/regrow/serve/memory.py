"""Give freed memory back to the system: glibc keeps what many threads have freed, more with every hour."""

from __future__ import annotations

import ctypes


def give_back() -> bool:
    """False where the C library does it by itself, or not at all."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return False
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    trim(0)
    return True
