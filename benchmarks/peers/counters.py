"""What a peer's process can count of itself: instructions where the processor's counter is open to it, and
bytes of live allocations where it was started with the library of `benchmarks.allocations`.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

ALLOCATIONS = "REGROW_BENCH_ALLOCATIONS"  # set for processes that were started with the library
_HARDWARE, _INSTRUCTIONS = 0, 1
# pinned to user space and to children, by the bits of `struct perf_event_attr` (Linux, include/uapi)
_INHERIT, _NO_KERNEL, _NO_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
_SIZE = 112
_SYSCALL = {"x86_64": 298, "aarch64": 241}


class Instructions:
    """Of this process and the threads it starts from now on, in user space; None where nobody counts."""

    def __init__(self, kind: int = _HARDWARE, what: int = _INSTRUCTIONS) -> None:
        number = _SYSCALL.get(platform.machine()) if sys.platform == "linux" else None
        attributes = struct.pack("<IIQ", kind, _SIZE, what).ljust(40, b"\0")
        attributes += struct.pack("<Q", _INHERIT | _NO_KERNEL | _NO_HYPERVISOR)
        self._file = -1
        if number is not None:
            library = ctypes.CDLL(None, use_errno=True)
            asked = ctypes.create_string_buffer(attributes.ljust(_SIZE, b"\0"), _SIZE)
            self._file = library.syscall(ctypes.c_long(number), asked, 0, -1, -1, ctypes.c_ulong(0))

    def read(self) -> int | None:
        """How many so far."""
        return None if self._file < 0 else int.from_bytes(os.read(self._file, 8), sys.byteorder)


class Allocations:
    """The library's figures; None without it."""

    def __init__(self, library: ctypes.CDLL | None) -> None:
        self._library, self._begun = library, 0
        if library is not None:
            library.regrow_live.restype = library.regrow_most.restype = ctypes.c_long

    def mark(self) -> None:
        """Count from here."""
        if self._library is not None:
            self._library.regrow_mark()
            self._begun = self._library.regrow_live()

    def most(self) -> int | None:
        """Bytes that were allocated at once since then, at most, above what there was."""
        return None if self._library is None else int(self._library.regrow_most()) - self._begun


def allocations() -> Allocations:
    """Of this process."""
    return Allocations(ctypes.CDLL(None) if os.environ.get(ALLOCATIONS) else None)
