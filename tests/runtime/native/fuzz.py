"""Search for a plan that makes the core touch what is not its own: `python -m tests.runtime.native.fuzz`.

The plans of the tests of ops, layers and the planner are the seeds; libFuzzer changes their words and keeps
what reaches new code. Needs clang with its sanitizers (Debian, Ubuntu: apt install clang libclang-rt-dev).
What is found is left in the work folder as `crash-*`; the sanitizer's report goes to standard error.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib.util
import os
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from regrow.engines import core

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[2] / "runtime" / "native"
SANITIZED = ("-g", "-O1", "-fsanitize=fuzzer-no-link,address,undefined", "-fno-sanitize-recover=all")
SEEDS = (
    "test_ops.py",
    "test_layers.py",
    "test_halves.py",
    "test_stored_weights.py",
    "test_winograd.py",
    "test_plan.py",
)
MOST = 1 << 16


class Recorder:
    """The library itself, which leaves every plan it is given, with its blocks, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._real, self._folder = core.library(), folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def regrow_run_width(self, width: int, plan: int, words: int, table: int, count: int, steps: int) -> int:
        rows = struct.unpack(f"<{2 * count}Q", ctypes.string_at(table, 16 * count))
        kept = [struct.pack("<3I", words, count, steps | width << 16), ctypes.string_at(plan, 4 * words)]
        for address, size in zip(rows[::2], rows[1::2], strict=True):
            kept += [struct.pack("<I", size), ctypes.string_at(address, size)]
        data = b"".join(kept)
        if len(data) <= MOST:
            (self._folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
        return int(self._real.regrow_run_width(width, plan, words, table, count, steps))


def lacking() -> str:
    """What this machine would need first; empty where nothing is missing."""
    if not NATIVE.exists() or not core.PATH.exists():
        return "a checkout with the core built"
    if shutil.which("clang") is None:
        return "clang"
    asked = ["clang", "-print-file-name=libclang_rt.fuzzer-x86_64.a"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    # clang repeats the bare name of a file that it cannot find.
    return "" if Path(found).is_absolute() or platform.machine() != "x86_64" else "clang's libFuzzer"


def builder() -> ModuleType:
    """The core's own build script, which no package holds."""
    spec = importlib.util.spec_from_file_location("regrow_core_build", NATIVE / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(folder: Path) -> Path:
    """The fuzzer: every width of the core beside the harness, all sanitized, symbols kept for the report."""
    made = folder / "fuzzer"
    objects = builder().objects(folder, ["clang"], SANITIZED)
    command = ["clang", "-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-std=gnu99", f"-I{NATIVE}"]
    subprocess.run([*command, str(HERE / "fuzz.c"), *objects, "-lm", "-o", str(made)], check=True)
    return made


def record(folder: Path) -> int:
    """Seeds from the tests, in a process of its own; how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    tests = [str(HERE / name) for name in SEEDS]
    script = (
        "import sys, pytest\nfrom pathlib import Path\nfrom regrow.engines import core\n"
        "from tests.runtime.native.fuzz import Recorder\n"
        "recorder = Recorder(Path(sys.argv[1]))\ncore.library = lambda: recorder\n"
        "raise SystemExit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[2:]]))"
    )
    root = str(HERE.parents[2])
    env = os.environ | {"PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
    subprocess.run([sys.executable, "-c", script, str(folder), *tests], cwd=root, env=env, check=True)
    return len(list(folder.iterdir()))


def search(fuzzer: Path, corpus: Path, seconds: int) -> subprocess.CompletedProcess[str]:
    """Fuzz for that long; a return code other than 0 is a find."""
    # Sizes that touch little may still take long: slow is no find, so it runs in a child that may be stopped.
    options = (
        f"-max_total_time={seconds}",
        f"-max_len={MOST}",
        "-fork=1",
        "-ignore_timeouts=1",
        "-timeout=5",
    )
    command = [str(fuzzer), *options, f"-artifact_prefix={fuzzer.parent}/", str(corpus)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.runtime.native.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long to search (default: 60)")
    parser.add_argument("--work", type=Path, default=Path("build/fuzz"), help="fuzzer, corpus and finds")
    args = parser.parse_args()
    if missing := lacking():
        print(f"fuzz: found no {missing}, expected it; apt install clang libclang-rt-dev", file=sys.stderr)
        return 2
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    print("fuzz: building the fuzzer, collecting seeds", flush=True)
    fuzzer, corpus = build(work), work / "corpus"
    print(f"fuzz: {record(corpus)} inputs, {args.seconds} s", flush=True)
    done = search(fuzzer, corpus, args.seconds)
    print(done.stderr[-3000:])
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
