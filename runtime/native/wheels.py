"""Wheels for the machines of `build.TARGETS`, compiled with zig and checked against what their names promise.

python runtime/native/wheels.py [OUT]              # all of them, into dist/
python runtime/native/wheels.py --only aarch64     # those whose name holds this
python runtime/native/wheels.py --record           # keep their sizes in benchmarks/results/wheels.json

A wheel named manylinux or musllinux must load on every such system: only the C library may be needed, in
versions that the oldest one has. The exit code is 1 where a wheel breaks its word.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import elf
from build import TARGETS, Target

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benchmarks" / "results" / "wheels.json"
LIBRARY = "regrow/_core.so"
WHEEL_BYTES = 1_000_000
EXPORTS = ("regrow_arena_bytes", "regrow_name", "regrow_run", "regrow_run_width", "regrow_width")
# Functions of C99, which every C library has had since long before its oldest version here.
WANTS = re.compile(r"mem(cpy|set|move|cmp)|strcmp|(sqrt|exp|log|log1p|expm1|tanh|erf|pow|fabs|floor)f")
# What the file names of each C library are on the machines that the wheel is for.
NEEDS = {"gnu": {"libc.so.6", "libm.so.6"}, "musl": {"libc.so"}}


def make(name: str, out: Path) -> Path:
    """Build one wheel into `out`, the same bytes every time."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        env = {**os.environ, "REGROW_TARGET": name}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name}: hatchling build failed\n{done.stdout}{done.stderr}")
        (made,) = Path(folder).glob("*.whl")
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(made, out / made.name))


def library(wheel: Path) -> bytes:
    """The core inside a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(LIBRARY)


def complaints(wheel: Path, target: Target) -> list[str]:
    """What about the wheel differs from its name's promise."""
    found = []
    if not wheel.name.endswith(f"-py3-none-{target.platform}.whl"):
        found.append(f"found the name {wheel.name}, expected it to end in py3-none-{target.platform}.whl")
    if tags(wheel) != {f"py3-none-{p}" for p in target.platform.split(".")}:
        found.append(f"found the tags {sorted(tags(wheel))}, expected those of its name")
    if (size := wheel.stat().st_size) > WHEEL_BYTES:
        found.append(f"found {size} bytes, expected at most {WHEEL_BYTES}")
    return found + [f"{LIBRARY}: {what}" for what in broken(elf.read(library(wheel)), target)]


def tags(wheel: Path) -> set[str]:
    """The tags inside, which installers compare with the name."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/WHEEL")]
        return set(re.findall(r"^Tag: (\S+)$", archive.read(name).decode(), re.M))


def broken(core: elf.Library, target: Target) -> list[str]:
    """What about a library would keep it from loading on one of the target's machines."""
    libc, oldest = limits(target)
    found = list(core.faults)
    if core.processor != target.processor:
        found.append(f"found a library for {core.processor}, expected {target.processor}")
    if foreign := sorted(set(core.needs) - NEEDS[libc]):
        found.append(f"needs {', '.join(foreign)}, expected only {', '.join(sorted(NEEDS[libc]))}")
    if newer := [v for v in core.versions if not within(v, oldest)]:
        found.append(f"needs {', '.join(newer)}, expected {oldest or 'no version'} at most")
    if odd := [name for name in core.wants if not WANTS.fullmatch(name)]:
        found.append(f"asks the C library for {', '.join(odd)}, expected functions of memory and mathematics")
    if core.exports != EXPORTS:
        found.append(f"exports {', '.join(core.exports)}, expected {', '.join(EXPORTS)}")
    if kept := sorted(s for s in core.sections if s == ".symtab" or s.startswith(".debug")):
        found.append(f"found {', '.join(kept)}, expected a stripped library")
    return found


def limits(target: Target) -> tuple[str, str]:
    """The kind of C library, and the newest version of its symbols that may be asked for; musl has none."""
    libc, _, version = target.triple.split("-")[2].partition(".")
    return libc, f"GLIBC_{version}" if version else ""


def within(version: str, newest: str) -> bool:
    """Whether a version of glibc's symbols is at most the newest."""
    found, bar = (re.fullmatch(r"GLIBC_(\d+(?:\.\d+)*)", v) for v in (version, newest))
    return bool(found and bar) and _numbers(found) <= _numbers(bar)


def _numbers(match: re.Match[str] | None) -> tuple[int, ...]:
    return tuple(map(int, match[1].split("."))) if match else ()


def row(name: str, wheel: Path) -> dict[str, Any]:
    """The sizes of one wheel, in bytes."""
    core = elf.read(library(wheel))
    with zipfile.ZipFile(wheel) as archive:
        entry = archive.getinfo(LIBRARY)
    return {
        "target": name,
        "wheel": wheel.name,
        "wheel_bytes": wheel.stat().st_size,
        "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "library": entry.file_size,
        "library_packed": entry.compress_size,
        "text": core.sections[".text"],
        "rodata": core.sections[".rodata"],
        "needs": list(core.needs),
        "versions": list(core.versions),
    }


def main(words: list[str]) -> int:
    """Build, check, say what came of it."""
    parser = argparse.ArgumentParser(
        prog="python runtime/native/wheels.py", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "dist", help="folder (default: dist)")
    parser.add_argument("--only", default="", metavar="WORD", help="targets whose name holds this word")
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    args = parser.parse_args(words)
    chosen = [name for name in TARGETS if args.only in name]
    if not chosen:
        parser.error(f"--only: found {args.only!r}, expected part of one of {', '.join(TARGETS)}")
    if args.record and args.only:
        parser.error("--record: found --only, expected all targets; leave one of them out")
    rows, failed = [], False
    for name in chosen:
        try:
            wheel = make(name, args.out)
        except RuntimeError as error:
            print(f"wheels: {error}", file=sys.stderr)
            return 1
        rows.append(row(name, wheel))
        size, packed = rows[-1]["wheel_bytes"], rows[-1]["library_packed"]
        print(f"{wheel.name}: {size} bytes, of these {packed} the core")
        for what in complaints(wheel, TARGETS[name]):
            print(f"wheels: {wheel.name}: {what}", file=sys.stderr)
            failed = True
    if args.record and not failed:
        kept = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "zig": metadata.version("ziglang"), "rows": rows}
        RECORD.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
