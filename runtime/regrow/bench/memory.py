"""What this process takes from the machine, in bytes.

Not `ru_maxrss` where it can be avoided: Linux hands a child the peak of the process that started it.
"""

from __future__ import annotations

import sys
from pathlib import Path


def peak() -> int:
    """The most memory that was resident so far."""
    found = _status("VmHWM")
    if found is not None:
        return found
    import resource

    # Kilobytes, except on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident() -> int:
    """The memory that is resident now; where the system does not say, the peak so far."""
    found = _status("VmRSS")
    return peak() if found is None else found


def _status(key: str) -> int | None:
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return None
