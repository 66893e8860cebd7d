"""The C folder on machines under emulation: each learns what this one does, within what rounding explains."""

import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from regrow.engines import core
from regrow_exporter.c_writer import folder
from tests.exporter.c_make import dumped, make
from tests.exporter.c_models import write_bundle

if not core.PATH.exists():
    pytest.skip("the native core is not built: no C compiler here", allow_module_level=True)

# What fused multiply-add may make of it, in parts of how far each tensor moved. What moves less than LEAST,
# such as a bias before a norm, does so by rounding only.
LIMIT, LEAST = 2e-5, 0.05
# Where nothing is fused, every machine makes the same bits.
PLAIN = "-O1 -ffp-contract=off"
ARM = ("arm-none-eabi-gcc", "qemu-system-arm")
A64, HF = ("aarch64-linux-gnu-gcc", "qemu-aarch64"), ("arm-linux-gnueabihf-gcc", "qemu-arm")
# name: target of the Makefile, programs it takes, width of a vector, flags
TARGETS = {
    "m4": ("check-m4", ARM, 4, "-Os"),
    "m7": ("check-m7", ARM, 4, "-Os"),
    "m55": ("check-m55", ARM, 16, "-Os"),
    "m55-scalar": ("check-m55", ARM, 4, "-O2"),
    "m7-plain": ("check-m7", ARM, 4, PLAIN),
    "m55-plain": ("check-m55", ARM, 16, PLAIN),
    "aarch64": ("check", A64, 16, "-O2"),
    "aarch64-plain": ("check", A64, 16, PLAIN),
    "armv7": ("check", HF, 16, "-O2 -mfpu=neon-vfpv4"),
    "armv7-scalar": ("check", HF, 4, "-O2"),
}
QUICK = ("m4", "m7-plain", "m55", "aarch64-plain", "armv7")


# Halves are widened by other instructions on each, and come back as the same floats. What is fused rounds
# elsewhere, and a half to its neighbour then, so that nothing can be said there.
HALVES = ("m7-plain", "m55-plain", "aarch64-plain")
QUICK_HALVES = ("m55-plain",)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """By plan the folder, and what this machine learns at each width."""
    path, made = tmp_path_factory.mktemp("targets"), {}
    opened = write_bundle("sparse", path / "m.regrow")

    def of(plan):
        if plan not in made:
            bound = folder.write_folder(opened, path / plan, plan=plan)
            here = {
                width: dumped(make(path / plan, CFLAGS=PLAIN, VB=width, OUT=f"build/{width}"), bound)
                for width in (4, 16)
            }
            made[plan] = bound, path / plan, here
        return made[plan]

    return of


@pytest.mark.parametrize(
    ("name", "plan"),
    [pytest.param(n, "small", marks=() if n in QUICK else pytest.mark.slow, id=n) for n in TARGETS]
    + [
        pytest.param(n, "small-fp16", marks=() if n in QUICK_HALVES else pytest.mark.slow, id=f"{n}-fp16")
        for n in HALVES
    ],
)
def test_it_learns_the_same_elsewhere(name, plan, written):
    target, programs, width, flags = TARGETS[name]
    if lacking := [program for program in programs if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(lacking)} (docs/metal.md names the packages)")
    bound, path, here = written(plan)
    board = target.removeprefix("check-")
    if target == "check":
        options = {"CC": programs[0], "RUN": programs[1], "LDFLAGS": "-static", "VB": width, "CFLAGS": flags}
        options["OUT"] = f"build/{name}"
    else:
        options = {f"{board}_VB": width, "ARM_CFLAGS": flags, f"{board}_OUT": f"build/{name}"}
    text = make(path, target, **options)
    assert "good" in text
    there = dumped(text, bound)
    for value, base in bound.changing.items():
        apart = np.abs(there[value] - here[width][value]).max()
        moved = np.abs(here[width][value] - base).max()
        assert apart <= (0 if flags == PLAIN else LIMIT * max(moved, LEAST)), value
