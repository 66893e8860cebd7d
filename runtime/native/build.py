"""Compile the native core with the system's compiler: one object per vector width, one shared library.

`python runtime/native/build.py [OUT]` builds where the runtime looks for it; hatchling calls the hook
below for a wheel. Without a compiler the wheel is pure and the package runs on the onnx engine. A name of
TARGETS in REGROW_TARGET makes it a wheel for that machine, with the compiler of the package ziglang.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib import util
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).resolve().parent
LIBRARY = SOURCES.parent / "regrow" / "_core.so"
# Loops that clang makes vectors of are a third more code and no faster (docs/decisions.md).
CROSS_FLAGS = ("-g0", "-fno-unroll-loops", "-fno-vectorize", "-fno-slp-vectorize")
# Where libraries of other machines are made: `make clean` removes it.
CROSS = SOURCES.parents[1] / "build" / "core"
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
FLAGS = (
    "-std=gnu99",
    "-O2",
    "-ftree-vectorize",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    *WARNINGS,
)
X86 = (("baseline", 16, "x86-64"), ("avx2", 32, "x86-64-v3"), ("avx512", 64, "x86-64-v4"))


# A dataclass asks for its module by name, which hatchling does not register.
class Target(NamedTuple):
    """Machines that a wheel is for: what zig calls them, and the platform in the wheel's name."""

    triple: str
    platform: str

    @property
    def processor(self) -> str:
        """As `platform.machine` says it there."""
        return self.triple.partition("-")[0]

    def compiler(self) -> list[str]:
        """zig's C compiler, told what to build for."""
        if util.find_spec("ziglang") is None:
            raise RuntimeError(
                f"{self.triple}: found no package ziglang, expected it beside {sys.executable}; "
                "pip install -c constraints.txt ziglang"
            )
        return [sys.executable, "-m", "ziglang", "cc", "-target", self.triple]


# The oldest glibc of manylinux2014; musl 1.2 has been the only series since 2020.
TARGETS = {
    "x86_64-linux-gnu": Target("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64.manylinux2014_x86_64"),
    "x86_64-linux-musl": Target("x86_64-linux-musl", "musllinux_1_2_x86_64"),
    "aarch64-linux-gnu": Target("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64.manylinux2014_aarch64"),
    "aarch64-linux-musl": Target("aarch64-linux-musl", "musllinux_1_2_aarch64"),
}


def target() -> Target | None:
    """The one in REGROW_TARGET; none is this machine."""
    name = os.environ.get("REGROW_TARGET", "")
    if name and name not in TARGETS:
        raise RuntimeError(f"REGROW_TARGET: found {name!r}, expected one of {', '.join(TARGETS)}")
    return TARGETS.get(name)


def compiler() -> list[str] | None:
    """The command in CC, or cc, gcc, clang, whichever is there first."""
    named = shlex.split(os.environ.get("CC", ""))
    candidates = [named] if named else [["cc"], ["gcc"], ["clang"]]
    return next((c for c in candidates if shutil.which(c[0])), None)


def build(
    out: Path,
    cc: list[str],
    extra: tuple[str, ...] = (),
    *,
    scalar: bool = False,
    processor: str = platform.machine(),
) -> None:
    """Write the library to `out`, replacing an older one at once or not at all; `scalar`: without vectors."""
    with tempfile.TemporaryDirectory() as folder:
        made_of = objects(Path(folder), cc, extra, scalar=scalar, processor=processor)
        out.parent.mkdir(parents=True, exist_ok=True)
        made = out.with_suffix(f".{os.getpid()}.tmp")
        _run([*cc, "-shared", *extra, "-s", "-o", str(made), *made_of, "-lm"])
        made.replace(out)


def objects(
    folder: Path,
    cc: list[str],
    extra: tuple[str, ...] = (),
    *,
    scalar: bool = False,
    processor: str = platform.machine(),
) -> list[str]:
    """What a library or a program is linked from: the core once per width, and what chooses among them."""
    x86 = processor.lower() in ("x86_64", "amd64") and not scalar
    widths = X86 if x86 else (("baseline", 4 if scalar else 16, ""),)
    made = []
    for name, width, march in widths:
        machine = (_processor(cc, march),) if march else ()
        defines = (f"-DVB={width}", f"-DREGROW_CORE=regrow_core_{name}")
        if name != widths[0][0]:
            defines += (f"-DREGROW_NARROW=regrow_core_{widths[0][0]}",)
        made.append(_compile(cc, "core.c", folder / f"{name}.o", (*extra, *machine, *defines)))
    face = ("-DREGROW_X86_WIDTHS",) if x86 else ()
    return [*made, _compile(cc, "regrow.c", folder / "regrow.o", (*extra, *face))]


def build_for(goal: Target, out: Path) -> None:
    """The library of other machines, always made anew: zig keeps what did not change."""
    build(out, goal.compiler(), CROSS_FLAGS, processor=goal.processor)


def _processor(cc: list[str], march: str) -> str:
    """The option for a level of x86-64, which zig spells in its own way."""
    return f"-mcpu={march.replace('-', '_')}" if "ziglang" in cc else f"-march={march}"


def _compile(cc: list[str], source: str, target: Path, extra: tuple[str, ...]) -> str:
    _run([*cc, *FLAGS, *extra, "-I", str(SOURCES), "-c", str(SOURCES / source), "-o", str(target)])
    return str(target)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stderr}")


def stale(out: Path = LIBRARY) -> bool:
    """Whether a source is newer than the library, or there is none."""
    made_from = (*sources(), SOURCES / "build.py")
    return not out.exists() or any(p.stat().st_mtime > out.stat().st_mtime for p in made_from)


def sources() -> list[Path]:
    """The core in C."""
    return [p for pattern in ("*.c", "*.h", "ops/*.c") for p in sorted(SOURCES.glob(pattern))]


def main(words: list[str]) -> int:
    """Build if something changed."""
    out = Path(words[0]) if words else LIBRARY
    cc = compiler()
    if cc is None:
        print(
            "build: no C compiler found (set CC, or apt install gcc); the onnx engine works without the core"
        )
        return 0
    if stale(out):
        build(out, cc)
        print(f"built {out}")
    return 0


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:
    pass
else:

    class CoreHook(BuildHookInterface):  # type: ignore[misc]
        """Puts library and sources into a wheel and names the platform it runs on."""

        PLUGIN_NAME = "custom"

        def initialize(self, version: str, build_data: dict[str, object]) -> None:
            """Compile, unless there is nothing to compile with; the sources travel in any case."""
            if self.target_name != "wheel" or version == "editable":
                return
            # `regrow export --c` hands the sources on.
            home = "regrow_exporter/c_writer/core"
            forced = {str(p): f"{home}/{p.relative_to(SOURCES)}" for p in sources()}
            made, system = LIBRARY, sysconfig.get_platform().replace("-", "_").replace(".", "_")
            if (goal := target()) is not None:
                made, system = CROSS / goal.triple / LIBRARY.name, goal.platform
                build_for(goal, made)
            elif (cc := compiler()) is not None:
                if stale(made):
                    build(made, cc)
            else:
                system = ""
            if system:
                build_data["pure_python"] = False
                build_data["tag"] = f"py3-none-{system}"
                forced[str(made)] = "regrow/_core.so"
            build_data["force_include"] = forced


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
