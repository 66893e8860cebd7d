"""What every test relies on: in a checkout, a native core built from the sources at hand."""

import subprocess
import sys
from pathlib import Path

import pytest

import regrow

ROOT = Path(__file__).resolve().parent.parent


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before collection, since modules skip where there is no core; an installed runtime brings its own."""
    if ROOT / "runtime" not in Path(regrow.__file__).resolve().parents:
        return
    command = [sys.executable, str(ROOT / "runtime" / "native" / "build.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.exit(f"the native core does not build:\n{done.stderr}", returncode=1)
