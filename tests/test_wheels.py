"""Wheels for other machines: their names and checks, and, where zig is installed, the wheels themselves.

A wheel's library is loaded by a runner of its own kind: here, or in QEMU with that machine's loader.
"""

import importlib
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regrow
from regrow.engines import core

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "runtime" / "native"
NATIVE_TESTS = ROOT / "tests" / "runtime" / "native"
TARGETS = ("x86_64-linux-gnu", "x86_64-linux-musl", "aarch64-linux-gnu", "aarch64-linux-musl")
# Of a target: the loader that its programs name, and where systems keep the loaders of others.
LOADERS = {
    "x86_64-linux-gnu": "lib64/ld-linux-x86-64.so.2",
    "x86_64-linux-musl": "lib/ld-musl-x86_64.so.1",
    "aarch64-linux-gnu": "lib/ld-linux-aarch64.so.1",
    "aarch64-linux-musl": "lib/ld-musl-aarch64.so.1",
}


@pytest.fixture(scope="module")
def wheels() -> ModuleType:
    """`runtime/native/wheels.py`, which finds its neighbours as a script does."""
    sys.path.insert(0, str(NATIVE))
    try:
        return importlib.import_module("wheels")
    finally:
        sys.path.remove(str(NATIVE))


@pytest.fixture(scope="module")
def host(wheels: ModuleType) -> Any:
    """The library of this machine as the reader sees it."""
    if not core.PATH.exists() or core.PATH.read_bytes()[:6] != b"\x7fELF\x02\x01":
        pytest.skip("the native core is not built: no C compiler here")
    return wheels.elf.read(core.PATH.read_bytes())


def test_the_names_are_those_that_installers_know(wheels: ModuleType) -> None:
    assert tuple(wheels.TARGETS) == TARGETS
    for name, target in wheels.TARGETS.items():
        processor, _, libc = name.split("-")
        system = {"gnu": "manylinux_2_17", "musl": "musllinux_1_2"}[libc]
        assert target.processor == processor
        assert target.platform.split(".")[0] == f"{system}_{processor}"
        assert wheels.limits(target) == (libc, "GLIBC_2.17" if libc == "gnu" else "")


def test_an_unknown_target_is_refused(wheels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    build = importlib.import_module("build")
    monkeypatch.setenv("REGROW_TARGET", "vax-linux-gnu")
    with pytest.raises(RuntimeError, match=r"found 'vax-linux-gnu', expected one of x86_64-linux-gnu,"):
        build.target()
    for given, want in (("", None), ("aarch64-linux-gnu", build.TARGETS["aarch64-linux-gnu"])):
        monkeypatch.setenv("REGROW_TARGET", given)
        assert build.target() == want


def test_a_lacking_compiler_is_named(wheels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    build = importlib.import_module("build")
    monkeypatch.setattr(build.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"found no package ziglang.*pip install"):
        build.TARGETS["aarch64-linux-musl"].compiler()


def test_versions_are_numbers(wheels: ModuleType) -> None:
    assert wheels.within("GLIBC_2.2.5", "GLIBC_2.17")
    assert wheels.within("GLIBC_2.17", "GLIBC_2.17")
    for newer in ("GLIBC_2.27", "GLIBC_2.17.1", "GLIBC_3.0", "GLIBC_PRIVATE", "GCC_3.0"):
        assert not wheels.within(newer, "GLIBC_2.17")
    assert not wheels.within("GLIBC_2.17", "")


def test_the_reader_sees_what_readelf_does(host: Any) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("needs readelf")

    def lines(option: str) -> list[str]:
        done = subprocess.run(
            ["readelf", "-W", option, str(core.PATH)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LC_ALL": "C"},
        )
        return done.stdout.splitlines()

    needed = [line.split("[")[1].rstrip("]") for line in lines("-d") if "(NEEDED)" in line]
    assert host.needs == tuple(needed)
    versions = {w for line in lines("-V") if "Name: " in line for w in [line.split("Name: ")[1].split()[0]]}
    assert set(host.versions) == versions
    rows = [row for line in lines("--dyn-syms") if len(row := line.split()) > 7 and row[0][:-1].isdigit()]
    names = [(row[7].split("@")[0], row[6] == "UND") for row in rows]
    assert host.exports == tuple(sorted(name for name, lacking in names if not lacking))
    assert host.wants == tuple(sorted(name for name, lacking in names if lacking))


def test_the_reader_refuses_what_it_cannot_read(wheels: ModuleType, host: Any) -> None:
    data = core.PATH.read_bytes()
    with pytest.raises(ValueError, match="expected a little-endian file of 64 bits"):
        wheels.elf.read(b"MZ" + data[2:])
    with pytest.raises(ValueError, match="machine 62, expected" if data[18] == 62 else "expected"):
        wheels.elf.read(data[:16] + struct.pack("<H", 2) + data[18:])
    for cut in (20, 63, len(data) // 2, len(data) - 64):
        with pytest.raises(ValueError, match="ELF: "):
            wheels.elf.read(data[:cut])


def test_every_broken_promise_is_named(wheels: ModuleType, host: Any) -> None:
    # The library of this machine was not linked for an old one, so the good example is made from it.
    target = wheels.TARGETS["x86_64-linux-gnu"]
    fields = vars(host) | {"processor": "x86_64", "needs": ("libc.so.6",), "versions": ("GLIBC_2.2.5",)}
    good = type(host)(**fields | {"exports": wheels.EXPORTS, "wants": ("memcpy", "tanhf")})
    assert wheels.broken(good, target) == []
    for change, words in (
        ({"processor": "aarch64"}, "for aarch64, expected x86_64"),
        ({"needs": ("libc.so.6", "libgcc_s.so.1")}, "needs libgcc_s.so.1, expected only libc.so.6"),
        ({"versions": ("GLIBC_2.17", "GLIBC_2.29")}, "needs GLIBC_2.29, expected GLIBC_2.17 at most"),
        ({"wants": ("memcpy", "statx")}, "asks the C library for statx, expected"),
        ({"exports": (*wheels.EXPORTS, "memcpy")}, "memcpy, expected"),
        ({"sections": {".text": 1, ".debug_info": 2}}, "found .debug_info, expected a stripped"),
        ({"faults": ("TEXTREL",)}, "TEXTREL"),
    ):
        (found,) = wheels.broken(type(host)(**vars(good) | change), target)
        assert words in found
    assert "needs libc.so.6" in wheels.broken(good, wheels.TARGETS["x86_64-linux-musl"])[0]


def test_the_page_is_the_record(wheels: ModuleType) -> None:
    from benchmarks import wheels_table

    record = json.loads(wheels.RECORD.read_text(encoding="utf-8"))
    text = wheels_table.PAGE.read_text(encoding="utf-8")
    assert wheels_table.replaced(text, record) == text, "run python -m benchmarks.wheels_table"
    assert [row["target"] for row in record["rows"]] == list(TARGETS)
    assert all(row["wheel_bytes"] <= wheels.WHEEL_BYTES for row in record["rows"])


@pytest.fixture(scope="module")
def made(wheels: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every wheel, and beside it the library it holds."""
    for package in ("ziglang", "hatchling"):
        if util.find_spec(package) is None:
            pytest.skip(f"needs the package {package}: make wheels")
    folder = tmp_path_factory.mktemp("wheels")
    built = {}
    for name in TARGETS:
        built[name] = wheels.make(name, folder / name)
        (folder / name / "_core.so").write_bytes(wheels.library(built[name]))
    return built


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_wheel_keeps_its_promise(wheels: ModuleType, made: dict[str, Path], name: str) -> None:
    assert wheels.complaints(made[name], wheels.TARGETS[name]) == []
    assert common(made[name]) == common(made[TARGETS[0]])


def common(wheel: Path) -> dict[str, int]:
    """Checksums of what is the same for every machine."""
    own = ("_core.so", ".dist-info/WHEEL", ".dist-info/RECORD")
    with zipfile.ZipFile(wheel) as archive:
        return {i.filename: i.CRC for i in archive.infolist() if not i.filename.endswith(own)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x86_64-linux-gnu", "aarch64-linux-gnu"])
def test_a_wheel_is_the_same_bytes_every_time(
    wheels: ModuleType, made: dict[str, Path], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An empty cache, so that zig compiles again instead of handing out what it made before.
    for kind in ("GLOBAL", "LOCAL"):
        monkeypatch.setenv(f"ZIG_{kind}_CACHE_DIR", str(tmp_path / kind))
    assert wheels.make(name, tmp_path).read_bytes() == made[name].read_bytes()


def launcher(name: str) -> list[str]:
    """What runs a program of this target; skips where nothing does."""
    processor, loader = name.partition("-")[0], LOADERS[name]
    root = Path(os.environ.get("REGROW_LOADERS", "/usr"), name)
    if own := os.uname().machine == processor:
        if Path("/", loader).exists():
            return []
        if (root / loader).exists():
            return [str(root / loader)]
    emulator = f"qemu-{processor}"
    if own or shutil.which(emulator) is None or not (root / loader).exists():
        return pytest.skip(f"needs {'' if own else emulator + ' and '}{root / loader} (docs/native.md)")
    return [emulator, "-L", str(root)]


@pytest.fixture
def runner(wheels: ModuleType, made: dict[str, Path], tmp_path: Path, request: Any) -> list[str]:
    """A program of the target that runs plans with the wheel's own library."""
    name = request.param
    start = launcher(name)
    shutil.copy(made[name].with_name("_core.so"), tmp_path / "lib_core.so")
    source, out = str(NATIVE_TESTS / "runner.c"), tmp_path / "runner"
    # Unoptimised, zig links a sanitizer that asks for more than an old musl has.
    command = [*wheels.TARGETS[name].compiler(), "-O2", source, f"-I{NATIVE}", f"-L{tmp_path}", "-l_core"]
    done = subprocess.run(
        [*command, f"-Wl,-rpath,{tmp_path}", "-o", str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [*start, str(out)]


def run_python(*words: str) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("runner", TARGETS, indirect=True)
def test_every_op_agrees_with_the_reference(runner: list[str]) -> None:
    out = run_python(str(NATIVE_TESTS / "emulated.py"), *runner, "--", str(NATIVE_TESTS / "test_ops.py"))
    assert "passed" in out or "100%" in out


@pytest.mark.slow
def test_every_op_agrees_at_every_width(made: dict[str, Path]) -> None:
    name = f"{os.uname().machine}-linux-gnu"
    if name not in made or not Path("/", LOADERS[name]).exists():
        pytest.skip("no wheel is for this machine")
    library = made[name].with_name("_core.so")
    script = (
        "import sys, pytest; from pathlib import Path; from regrow.engines import core; "
        "core.PATH = Path(sys.argv[1]); print('widths', core.library().regrow_width() + 1); "
        "raise SystemExit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[2:]]))"
    )
    out = run_python("-c", script, str(library), str(NATIVE_TESTS / "test_ops.py"))
    assert "passed" in out or "100%" in out
    # zig's own answer to what a processor can do is: nothing.
    assert f"widths {core.library().regrow_width() + 1}" in out


@pytest.mark.slow
@pytest.mark.parametrize("runner", TARGETS, indirect=True)
def test_an_adaptation_ends_where_it_does_here(
    runner: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from benchmarks.metal import write_model
    from tests.runtime.native.emulated import Emulated

    path = tmp_path / "conv4.regrow"
    write_model("conv4, 8 filters", 0.9, path)
    rng = np.random.default_rng(0)
    x, y = rng.random((10, 1, 28, 28), np.float32), np.arange(10) % 5

    def logits() -> tuple[list[float], np.ndarray[Any, Any]]:
        session = regrow.open(path, engine="native").session()
        losses = session.adapt(x, y, steps=5).losses
        return list(losses), session.predict(x).logits

    here = logits()
    with Emulated(runner) as emulated:
        monkeypatch.setattr(core, "library", lambda: emulated)
        there = logits()
    assert here[0][-1] < 0.9 * here[0][0]
    np.testing.assert_allclose(there[0], here[0], rtol=1e-4)
    np.testing.assert_allclose(there[1], here[1], rtol=1e-3, atol=1e-4)
