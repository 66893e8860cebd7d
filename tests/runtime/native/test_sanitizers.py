"""The core under AddressSanitizer and UndefinedBehaviorSanitizer: every op, and plans with changed words."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import sys
from pathlib import Path
import pytest
from regrow.engines import core
core.PATH = Path(sys.argv[1])
raise SystemExit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""


@pytest.mark.slow
def test_nothing_is_found(tmp_path: Path) -> None:
    source = ROOT / "runtime" / "native" / "build.py"
    if not source.exists() or shutil.which("gcc") is None:
        pytest.skip("needs gcc and the core's sources")
    spec = importlib.util.spec_from_file_location("regrow_core_build", source)
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    library = tmp_path / "_core.so"
    build.build(library, ["gcc"], ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"))
    runtime = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    # The interpreter itself leaks at exit; the core allocates nothing.
    env = os.environ | {"LD_PRELOAD": runtime.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    names = (
        "test_ops.py",
        "test_plan.py",
        "test_layers.py",
        "test_halves.py",
        "test_stored_weights.py",
        "test_winograd.py",
    )
    tests = [str(Path(__file__).with_name(name)) for name in names]
    command = [sys.executable, "-c", SCRIPT, str(library), *tests]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
