"""The same episodes on a GPU, and meta-training there: `python -m benchmarks.gpu --everything`; episodes
alone also as `regrow bench --suite full --device cuda`. It needs torch with CUDA, numpy and this checkout:

    PYTHONPATH=.:runtime:trainer python -m benchmarks.gpu --everything --seconds 420 OUT.json

One episode is: the support set and one query go to the device, five steps, the query's outputs come back.
Variants are PyTorch eager, torch.compile, one CUDA graph for everything, and many users at once in one batch
of tasks. Each is held to torch in fp64 before it is timed. What has no turn before the time is over says so.
Without a GPU, `--device cpu` runs the code that needs none, to test it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.case import Case
from benchmarks.gpu_page import RECORD
from benchmarks.gpu_variants import Parts, Variant, graphed, variants
from benchmarks.prepare import read_expected, write
from benchmarks.turns import TOLERANCE
from benchmarks.workloads import STEPS, Work
from regrow.bench import machine
from regrow.bench.stats import spread
from regrow.files import atomic_write

WORKLOADS = ("W1", "W2", "W2s5", "W3", "W4s5")
# The board's counter of energy ticks some ten times a second, so that a variant runs for a second at least.
ROUNDS, WARM_UP, LEAST, MOST = 50, 5, 1.0, 6.0


class Meter:
    """The GPU's own energy counter, where its library and the board have one."""

    def __init__(self, device: str) -> None:
        self.handle = ctypes.c_void_p()
        self.library: Any = None
        try:
            found = ctypes.CDLL("libnvidia-ml.so.1") if device == "cuda" else None
        except OSError:
            found = None
        if (
            found
            and not found.nvmlInit_v2()
            and not found.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self.handle))
        ):
            self.library = found

    def joules(self) -> float | None:
        """Since the driver was loaded."""
        total = ctypes.c_ulonglong()
        if not self.library or self.library.nvmlDeviceGetTotalEnergyConsumption(
            self.handle, ctypes.byref(total)
        ):
            return None
        return total.value / 1e3


def measure(case: Case, make: Callable[[], Variant], device: str, queries: int) -> dict[str, Any]:
    """One variant: checked, then timed with one query each."""
    full = make()
    wanted = read_expected(case.folder)
    arrays = [torch.from_numpy(a) for a in (case.x, case.y, case.query)]
    users = full.users
    many = [a.expand(users, *a.shape).contiguous() for a in arrays]
    if full.name != "CUDA graph":
        off = wanted.error(full.episode(*many)[-1].double().numpy())
    else:
        off = wanted.error(make_graph_check(case, device))
    if off > TOLERANCE:
        return {"name": full.name, "users": users, "status": "differs", "error": off}
    inputs = [many[0], many[1], many[2][:, :queries].contiguous()]
    if device == "cuda":
        inputs = [a.pin_memory() for a in inputs]
        torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM_UP):
        full.episode(*inputs)
    meter = Meter(device)
    times: list[float] = []
    before, began = meter.joules(), time.perf_counter()
    while (spent := time.perf_counter() - began) < MOST and (len(times) < ROUNDS or spent < LEAST):
        at = time.perf_counter()
        full.episode(*inputs)  # ends with a copy to the host, which waits
        times.append((time.perf_counter() - at) * 1e3)
    after = meter.joules()
    return {
        "name": full.name,
        "users": users,
        "status": "measured",
        "error": off,
        "latency_ms": spread(times).to_json(),
        "users_per_second": users / (statistics.median(times) / 1e3),
        "memory_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
        "joules_per_user": None if before is None or after is None else (after - before) / len(times) / users,
    }


def make_graph_check(case: Case, device: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A graph has a fixed number of queries, so it is checked with one made for all of them."""
    variant = graphed(Parts(case, device), len(case.query))
    arrays = [torch.from_numpy(a)[None] for a in (case.x, case.y, case.query)]
    return variant.episode(*arrays)[0].double().numpy()


def run(
    names: Sequence[str], device: str, home: Path, ends: float, keep: Callable[[list[dict[str, Any]]], None]
) -> None:
    """Every workload, dense, everything adaptable; `keep` gets what there is after each."""
    cases: list[dict[str, Any]] = []
    for name in names:
        case = write(Work(name, "dense", "all"), home / "gpu", bundle=False)
        rows = []
        for variant, make in variants(case, device, 1).items():
            try:
                if time.monotonic() > ends:
                    raise RuntimeError("no time was left; --seconds gives more")
                rows.append(measure(case, make, device, 1))
            except (RuntimeError, NotImplementedError) as failure:
                reason = (str(failure).splitlines() or [type(failure).__name__])[0][:300]
                rows.append({"name": variant, "status": "refused", "reason": reason})
            print(f"gpu: {name}: {rows[-1]}", file=sys.stderr, flush=True)
            if device == "cuda":
                torch.cuda.empty_cache()
        cases.append({"workload": name, "support": len(case.x), "variants": rows})
        keep(cases)


def training(device: str, learn2learn: Path | None) -> dict[str, Any]:
    """Meta-training beside other ways to the same gradient; why not, where it does not run."""
    words = [
        "--device",
        device,
        "--rounds",
        "5",
        *(["--learn2learn", str(learn2learn)] if learn2learn else []),
    ]
    try:
        from benchmarks import training_speed  # needs the trainer, which adaptation does not

        return training_speed.record(training_speed.parser().parse_args(words))
    except (ImportError, RuntimeError, SystemExit) as failure:
        return {"refused": str(failure).splitlines()[0][:300]}


def about(device: str) -> dict[str, Any]:
    """The machine and its GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            f"gpu: torch {torch.__version__} finds no CUDA device, expected an NVIDIA GPU with its driver "
            "and a CUDA build of torch; --device cpu only tests the code"
        )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    return {**machine.describe(), "gpu": gpu, "cuda": torch.version.cuda}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "output", nargs="?", default=str(RECORD), help=f"where the JSON goes (default: {RECORD})"
    )
    parser.add_argument("--everything", action="store_true", help="meta-training first, then adaptation")
    parser.add_argument("--learn2learn", type=Path, metavar="FOLDER", help="unpacked source of its 0.2.0")
    parser.add_argument("--seconds", type=float, default=420.0, help="begin nothing later (default: 420)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--work", default="build/suite", type=Path, help="where cases are kept")
    args = parser.parse_args(argv)
    ends = time.monotonic() + args.seconds
    made = {"format": 1, "device": args.device, "machine": about(args.device), "steps": STEPS, "cases": []}

    def keep(cases: list[dict[str, Any]]) -> None:
        made["cases"] = cases
        atomic_write(args.output, (json.dumps(made, indent=1) + "\n").encode())

    if args.everything:
        made["training"] = training(args.device, args.learn2learn)
        print(f"gpu: training: {made['training']}", file=sys.stderr, flush=True)
    run(args.only, args.device, args.work, ends, keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
