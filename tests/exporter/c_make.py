"""How a C folder is built and run, and what its example printed."""

import os
import shutil
import subprocess

import numpy as np
import pytest


def tool(*names):
    """The first of some programs that is there; skips where none is."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"needs {' or '.join(names)}; on Debian: see docs/metal.md")
    return found


def make(folder, target="check", dump=True, **variables):
    """Build and run; what it printed."""
    tool("make")
    if dump:
        key = "ARM_CFLAGS" if target.startswith(("m4", "m7", "m55", "check-m")) else "CFLAGS"
        variables[key] = f"{variables.get(key, '-O1')} -DDUMP -Werror"
    command = ["make", "-C", str(folder), target, *(f"{k}={v}" for k, v in variables.items())]
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert not dump or "warning" not in done.stderr, done.stderr
    # What a board prints through its debugger comes out of QEMU's standard error.
    return done.stdout + done.stderr


def dumped(text, bound):
    """The adapted values that the example printed, by name."""
    words = [line for line in text.splitlines() if len(line) == 8 and set(line) <= set("0123456789abcdef")]
    data = np.array([int(w, 16) for w in words], np.uint32).tobytes()
    offsets = bound.offsets
    assert offsets[""] == len(data)
    return {n: np.frombuffer(data, a.dtype, a.size, offsets[n]) for n, a in bound.changing.items()}
