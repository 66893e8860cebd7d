"""What the core promises of its sources: no warnings, no heap, no output, no state, no recursion."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parents[3] / "runtime" / "native"
FLAGS = ["-std=gnu99", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-Wconversion", "-Wvla"]
FLAGS += ["-Werror", "-DREGROW_CORE=regrow_core_baseline"]
ZIG = [sys.executable, "-m", "ziglang", "cc"]
# name: command, whether it is there, and per width of a vector what else it is told
COMPILERS = {
    "gcc": (["gcc"], {4: [], 16: []}),
    "clang": (["clang"], {4: [], 16: []}),
    "zig": (
        ZIG,
        {
            4: ["-target", "arm-linux-musleabihf"],
            16: ["-target", "aarch64-linux-musl"],
            32: ["-target", "x86_64-linux-musl", "-mcpu=x86_64_v3"],
            64: ["-target", "x86_64-linux-musl", "-mcpu=x86_64_v4"],
        },
    ),
    "m4": (["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb"], {4: []}),
    "m7": (["arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mthumb"], {4: []}),
    "m55": (["arm-none-eabi-gcc", "-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"], {4: [], 16: []}),
    "aarch64": (["aarch64-linux-gnu-gcc"], {4: [], 16: []}),
    "armv7": (["arm-linux-gnueabihf-gcc", "-mfpu=neon-vfpv4"], {4: [], 16: []}),
}
pytestmark = pytest.mark.skipif(
    not NATIVE.exists(), reason="needs a checkout: an installed regrow has no core/"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILERS)
def test_a_compiler_finds_nothing_to_say(name: str, tmp_path: Path) -> None:
    command, widths = COMPILERS[name]
    there = importlib.util.find_spec("ziglang") if command is ZIG else shutil.which(command[0])
    if there is None:
        pytest.skip(f"needs {'the package ziglang' if command is ZIG else command[0]}")
    for width, more in widths.items():
        for source in ("core.c", "regrow.c", "slots.c"):
            full = [*command, *FLAGS, *more, "-O2", f"-DVB={width}", "-c", str(NATIVE / source)]
            done = subprocess.run(
                [*full, "-o", str(tmp_path / "x.o")], capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, ""), (width, source)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects of the core without inlining, and what calls what in them."""
    if shutil.which("gcc") is None or shutil.which("nm") is None:
        pytest.skip("needs gcc and nm")
    folder = tmp_path_factory.mktemp("objects")
    for source in ("core", "regrow", "slots"):
        flags = [*FLAGS, "-O0", "-fno-pic", "-DVB=4", "-fcallgraph-info=su"]
        target = str(folder / f"{source}.o")
        subprocess.run(
            ["gcc", *flags, "-c", str(NATIVE / f"{source}.c"), "-o", target], check=True, cwd=folder
        )
    return folder


def symbols(folder: Path, kinds: str) -> set[str]:
    text = "".join(
        subprocess.run(["nm", str(path)], capture_output=True, text=True, check=True).stdout
        for path in sorted(folder.glob("*.o"))
    )
    return set(re.findall(rf" [{kinds}] (\w+)$", text, re.M))


def test_it_calls_nothing_but_memory_and_mathematics(compiled: Path) -> None:
    own = symbols(compiled, "tT")
    wanted = symbols(compiled, "U") - own
    assert {"memmove", "memset", "expf"} <= wanted
    allowed = r"mem(cpy|set|move|cmp)|strcmp|(sqrt|exp|log|log1p|expm1|tanh|erf|pow|fabs|floor)f"
    assert {name for name in wanted if not re.fullmatch(allowed, name)} == set()


def test_it_has_no_state(compiled: Path) -> None:
    assert symbols(compiled, "dDbBC") == set()
    assert symbols(compiled, "rR")


def test_no_function_calls_itself_by_whatever_way(compiled: Path) -> None:
    calls: dict[str, set[str]] = {}
    for path in compiled.glob("*.ci"):
        edges = re.findall(r'edge: { sourcename: "([^"]+)" targetname: "([^"]+)"', path.read_text())
        for source, target in edges:
            calls.setdefault(source.rpartition(":")[2], set()).add(target.rpartition(":")[2])
    # What is called through a pointer: the ops, by the interpreter, and the core, by the face.
    calls["regrow_core_baseline"].discard("__indirect_call")
    calls["regrow_core_baseline"] |= {name for name in calls if name.startswith("op_")}
    calls.setdefault("run", set()).add("regrow_core_baseline")
    assert len(calls) > 80
    for start in calls:
        seen, pending = set(), list(calls[start])
        while pending:
            name = pending.pop()
            assert name != start, f"{start} is reached from itself"
            if name not in seen:
                seen.add(name)
                pending += calls.get(name, ())
