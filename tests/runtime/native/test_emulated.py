"""The core's own op tests on machines that are not here: without vectors, 32 bits wide, ARM."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from regrow.engines import core

ROOT = Path(__file__).resolve().parents[3]
NATIVE = ROOT / "runtime" / "native"
FLAGS = (
    "-std=gnu99",
    "-O1",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
)
CORE = "-DREGROW_CORE=regrow_core_baseline"

# name: compiler and its flags, bytes of a vector, emulator
MACHINES = {
    "scalar": (["cc"], 4, []),
    "armv7": (["arm-linux-gnueabihf-gcc", "-static", "-mfpu=neon-vfpv4"], 16, ["qemu-arm"]),
    "armv7-scalar": (["arm-linux-gnueabihf-gcc", "-static"], 4, ["qemu-arm"]),
    "aarch64": (["aarch64-linux-gnu-gcc", "-static"], 16, ["qemu-aarch64"]),
}
QUICK = ("scalar", "armv7")


@pytest.mark.parametrize(
    "machine", [m if m in QUICK else pytest.param(m, marks=pytest.mark.slow) for m in MACHINES]
)
def test_every_op_agrees_with_the_reference(machine: str, tmp_path: Path) -> None:
    compiler, width, emulator = MACHINES[machine]
    lacking = [tool for tool in (compiler[0], *emulator) if shutil.which(tool) is None]
    if lacking or not core.PATH.exists() or not NATIVE.exists():
        pytest.skip(
            f"needs {', '.join(lacking) or 'a checkout with the core'} (docs/metal.md names packages)"
        )
    sources = [str(NATIVE / "core.c"), str(NATIVE / "regrow.c"), str(Path(__file__).with_name("runner.c"))]
    runner = str(tmp_path / "runner")
    command = [*compiler, *FLAGS, CORE, f"-DVB={width}", f"-I{NATIVE}", *sources, "-o", runner, "-lm"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    script, tests = (str(Path(__file__).with_name(name)) for name in ("emulated.py", "test_ops.py"))
    tiles = f"{Path(__file__).with_name('test_winograd.py')}::test_tiles_compute_what_the_reference_does"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, script, *emulator, runner, "--", tests, tiles],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "passed" in done.stdout or "100%" in done.stdout
