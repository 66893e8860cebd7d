"""What every test relies on: in a checkout, a native core built from the sources at hand."""

import subprocess
import sys
from pathlib import Path

import pytest

import regrow

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _core() -> None:
    """Build the core where the runtime of this checkout is tested; an installed one brings its own."""
    if ROOT / "runtime" in Path(regrow.__file__).resolve().parents:
        command = [sys.executable, str(ROOT / "runtime" / "native" / "build.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
