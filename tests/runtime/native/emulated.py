"""Run a test file with the core of another machine: `emulated.py EMULATOR RUNNER -- pytest arguments`.

Plans go to a runner in an emulator instead of the library beside the runtime; the names stay the library's.
"""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys
from typing import Any

import pytest

from regrow.engines import core


class Emulated:
    """What the tests use of the library, somewhere else."""

    def __init__(self, command: list[str]) -> None:
        self._real = core.library()
        self._runner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Emulated:
        return self

    def __exit__(self, *reason: object) -> None:
        self._runner.communicate()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def regrow_width(self) -> int:
        return 0

    def regrow_run(self, plan: int, words: int, table: int, count: int, steps: int) -> int:
        return self.regrow_run_width(0, plan, words, table, count, steps)

    def regrow_run_width(self, width: int, plan: int, words: int, table: int, count: int, steps: int) -> int:
        assert width == 0
        assert self._runner.stdin is not None
        assert self._runner.stdout is not None
        rows = struct.unpack(f"<{2 * count}Q", ctypes.string_at(table, 16 * count))
        blocks = list(zip(rows[::2], rows[1::2], strict=True))
        sent = [struct.pack("<3I", words, count, steps), ctypes.string_at(plan, 4 * words)]
        for address, size in blocks:
            sent += [struct.pack("<I", size), ctypes.string_at(address, size)]
        self._runner.stdin.write(b"".join(sent))
        self._runner.stdin.flush()
        (status,) = struct.unpack("<I", self._read(4))
        for address, size in blocks:
            # Frozen weights lie in memory that cannot be written.
            if (data := self._read(size)) != ctypes.string_at(address, size):
                ctypes.memmove(address, data, size)
        return int(status)

    def _read(self, size: int) -> bytes:
        assert self._runner.stdout is not None
        data = self._runner.stdout.read(size)
        assert len(data) == size, "the runner died"
        return data


if __name__ == "__main__":
    split = sys.argv.index("--")
    emulated = Emulated(sys.argv[1:split])
    core.library = lambda: emulated  # type: ignore[assignment, return-value]
    raise SystemExit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[split + 1 :]]))
