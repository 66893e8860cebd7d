"""Each convolution shape alone: rate of its useful multiply-adds, beside what the machine can do at most."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from regrow.engines import core
from regrow.engines.planned import address, aligned
from regrow.plan.kept import Kept
from regrow.plan.make import plan_predict
from regrow.program import Op, Program, Value

SHAPES = (
    (1, 64, 28),
    (64, 64, 14),
    (64, 64, 7),
    (64, 64, 3),
    (3, 32, 84),
    (32, 32, 42),
    (32, 32, 21),
    (32, 32, 10),
)
SAMPLES, DENSITY = 5, 0.1
SAME = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
BYTES = {"baseline": 16, "avx2": 32, "avx512": 64}


def limits() -> dict[str, float]:
    """GFLOP/s of multiply-adds, and of multiply-adds with one load each that crosses lines; best of ten."""
    cc = shutil.which("gcc") or shutil.which("cc")
    if cc is None:
        return {}
    width = BYTES[core.widest()]
    with tempfile.TemporaryDirectory() as folder:
        out, source = Path(folder, "peak.so"), Path(__file__).with_name("peak.c")
        flags = ["-O2", "-march=native", "-shared", "-fPIC", f"-DVB={width}"]
        subprocess.run([cc, *flags, str(source), "-o", str(out)], check=True)
        made = ctypes.CDLL(str(out))
        made.peak_fma.restype = made.peak_loads.restype = ctypes.c_double
        made.peak_loads.argtypes = (ctypes.c_void_p,)
        buffer = aligned(16384)
        buffer[:] = 0
        fma = max(made.peak_fma() for _ in range(10))
        return {"fma": fma, "loads": max(made.peak_loads(address(buffer)) for _ in range(10))}


def _program(kind: str, channels: int, filters: int, size: int) -> Program:
    x, w, y = (
        Value((-1, channels, size, size)),
        Value((filters, channels, 3, 3)),
        Value((-1, filters, size, size)),
    )
    roles = {"conv2d": (x, w, y), "conv2d_dx": (y, w, x), "conv2d_dw": (y, x, w)}[kind]
    attrs: dict[str, Any] = dict(SAME)
    attrs |= {"conv2d_dx": {"size": (size, size)}, "conv2d_dw": {"kernel": (3, 3)}}.get(kind, {})
    names = ("a", "b", "out")
    values = dict(zip(names, roles, strict=True))
    values |= {
        n: Value(values[n].shape, role="frozen" if n == "b" and kind != "conv2d_dw" else "input")
        for n in "ab"
    }
    return Program(("a", "b"), ("out",), (Op(kind, ("a", "b"), ("out",), attrs),), values)


def seconds(kind: str, channels: int, filters: int, size: int, kept: Kept | None) -> float:
    """Least time of the kernel alone: of the plan, less that of the same plan without it."""
    program = _program(kind, channels, filters, size)
    plan = plan_predict(program, SAMPLES, {} if kept is None else {"b": kept}, outputs=("out",))
    rng = np.random.default_rng(0)
    arrays = {n: rng.normal(size=program.values[n].at(SAMPLES)).astype(np.float32) for n in "ab"}
    arrays["out:out"] = np.empty(program.values["out"].at(SAMPLES), np.float32)
    arena, least = aligned(plan.arena_bytes), []
    arena[:] = 0
    blocks = [arena, *(plan.lists[n] if n in plan.lists else arrays[n] for n in plan.blocks[1:])]
    table = np.array([(address(a), a.nbytes) for a in blocks], np.uint64)
    kernels = [c for c in plan.calls["once"] if c.op.startswith(("conv", "winograd"))]
    if not kernels:
        found = ", ".join(c.op for c in plan.calls["once"])
        raise RuntimeError(f"{kind}: found calls of {found}, expected a kernel among them")
    for repeat in (1, 5):
        plan.calls["once"][:] = [c for c in plan.calls["once"] if c not in kernels] + repeat * kernels  # type: ignore[index]
        words = plan.words(core.code)
        arguments = (address(words), len(words), address(table), len(table), 0)
        times = []
        for _ in range(60):
            began = time.thread_time_ns()
            core.library().regrow_run(*arguments)
            times.append(time.thread_time_ns() - began)
        least.append(min(times))
    return (least[1] - least[0]) / 4 * 1e-9


def table() -> dict[str, Any]:
    """GFLOP/s of useful work per shape and kernel, whole and at the stated density."""
    rows = []
    for channels, filters, size in SHAPES:
        work = 2.0 * SAMPLES * channels * filters * 9 * size * size * 1e-9
        mask = np.random.default_rng(1).random((filters, channels, 3, 3)) < DENSITY
        kept = Kept(mask, fixed=True)
        row: dict[str, Any] = {"shape": f"{channels} to {filters}, {size}x{size}"}
        for kind in ("conv2d", "conv2d_dx", "conv2d_dw"):
            row[kind] = work / seconds(kind, channels, filters, size, None)
            if kind != "conv2d_dw":
                row[f"{kind} sparse"] = work * kept.density / seconds(kind, channels, filters, size, kept)
        rows.append(row)
    return {"limits": limits(), "samples": SAMPLES, "density": DENSITY, "rows": rows}
