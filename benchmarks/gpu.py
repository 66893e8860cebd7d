"""The same episodes on a GPU: `python -m benchmarks.gpu OUT.json`, also as `regrow bench --suite full
--device cuda`.

One episode is: the support set and one query go to the device, five steps, the query's outputs come back.
Variants are PyTorch eager, torch.compile, one CUDA graph for everything, and many users at once in one batch
of tasks. Each is held to torch in fp64 before it is timed. Without a GPU, `--device cpu` runs the code that
needs none, to test it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from benchmarks.case import Case
from benchmarks.peers.torch_net import Net, build
from benchmarks.prepare import error, read_expected, write
from benchmarks.suite import TOLERANCE
from benchmarks.workloads import STEPS, Work
from regrow.bench import machine
from regrow.bench.stats import spread
from regrow.files import atomic_write

WORKLOADS = ("W1", "W2", "W2s5", "W3", "W4s5")
USERS = (1, 4, 16, 64)
ROUNDS, WARM_UP, SECONDS = 50, 5, 20.0


@dataclass(frozen=True, eq=False)
class Variant:
    """One way of running an episode; `episode` takes host arrays and gives host outputs, one row per user."""

    name: str
    users: int
    episode: Callable[[Tensor, Tensor, Tensor], Tensor]


class Parts:
    """A case on a device."""

    def __init__(self, case: Case, device: str) -> None:
        self.case, self.device = case, device
        self.net: Net = build(case).to(device)
        self.named = [(n, p) for n, p in self.net.named_parameters() if p.requires_grad]
        self.moving: list[Tensor] = [p for _, p in self.named]
        self.start = [p.detach().clone() for p in self.moving]

    def steps(self, x: Tensor, y: Tensor) -> None:
        """Five steps in place, from the start."""
        with torch.no_grad():
            torch._foreach_copy_(self.moving, self.start)
        for _ in range(STEPS):
            grads = torch.autograd.grad(cross_entropy(self.net(x), y), self.moving)
            with torch.no_grad():
                torch._foreach_add_(self.moving, grads, alpha=-self.case.rate)

    def outputs(self, query: Tensor) -> Tensor:
        """By the weights as they are."""
        with torch.no_grad():
            made: Tensor = self.net(query)
        return made

    def to(self, *arrays: Tensor) -> list[Tensor]:
        """From pinned memory, without waiting for each."""
        return [array.to(self.device, non_blocking=True) for array in arrays]


def eager(parts: Parts) -> Variant:
    """Kernel by kernel."""

    def episode(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        x, y, query = parts.to(x[0], y[0], query[0])
        parts.steps(x, y)
        return parts.outputs(query).cpu()[None]

    return Variant("eager", 1, episode)


def compiled(parts: Parts) -> Variant:
    """One compiled graph per step."""
    net, rate = parts.net, parts.case.rate
    names = [name for name, _ in parts.named]

    def loss(moving: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(functional_call(net, moving, (x,)), y)

    def step(moving: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
        grads = grad(loss)(moving, x, y)
        return {name: moving[name] - rate * grads[name] for name in moving}

    fast = torch.compile(step, dynamic=False, fullgraph=True)
    first = dict(zip(names, parts.start, strict=True))

    def episode(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        x, y, query = parts.to(x[0], y[0], query[0])
        now = first
        with torch.no_grad():
            for _ in range(STEPS):
                now = fast(now, x, y)
            made: Tensor = functional_call(net, now, (query,)).cpu()[None]
        return made

    return Variant("torch.compile", 1, episode)


def graphed(parts: Parts, queries: int) -> Variant:
    """Everything between the copies as one CUDA graph."""
    x, y = (torch.from_numpy(a).to(parts.device) for a in (parts.case.x, parts.case.y))
    query = torch.from_numpy(parts.case.query[:queries]).to(parts.device)
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            parts.steps(x, y)
            parts.outputs(query)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        parts.steps(x, y)
        out = parts.outputs(query)

    def episode(new_x: Tensor, new_y: Tensor, new_query: Tensor) -> Tensor:
        x.copy_(new_x[0], non_blocking=True)
        y.copy_(new_y[0], non_blocking=True)
        query.copy_(new_query[0], non_blocking=True)
        graph.replay()
        return out.cpu()[None]

    return Variant("CUDA graph", 1, episode)


def batched(parts: Parts, users: int) -> Variant:
    """Many users at once: one batch of tasks, weights of their own each."""
    net, rate = parts.net, parts.case.rate
    names = [name for name, _ in parts.named]
    first = {n: s.expand(users, *s.shape) for n, s in zip(names, parts.start, strict=True)}

    def forward(moving: dict[str, Tensor], x: Tensor) -> Tensor:
        made: Tensor = functional_call(net, moving, (x,))
        return made

    def loss(moving: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(forward(moving, x), y)

    every, each = vmap(grad(loss)), vmap(forward)

    def episode(x: Tensor, y: Tensor, query: Tensor) -> Tensor:
        x, y, query = parts.to(x, y, query)
        now = first
        with torch.no_grad():
            for _ in range(STEPS):
                grads = every(now, x, y)
                now = {name: now[name] - rate * grads[name] for name in now}
            made: Tensor = each(now, query).cpu()
        return made

    return Variant(f"{users} users at once", users, episode)


def variants(case: Case, device: str, queries: int) -> list[Callable[[], Variant]]:
    """Makers, so that each has the device's memory to itself."""
    made: list[Callable[[], Variant]] = [
        lambda: eager(Parts(case, device)),
        lambda: compiled(Parts(case, device)),
    ]
    if device == "cuda":
        made.append(lambda: graphed(Parts(case, device), queries))
    return made + [lambda n=n: batched(Parts(case, device), n) for n in USERS]


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
    wanted = read_expected(case.folder).logits
    arrays = [torch.from_numpy(a) for a in (case.x, case.y, case.query)]
    users = full.users
    many = [a.expand(users, *a.shape).contiguous() for a in arrays]
    if full.name != "CUDA graph":
        off = error(full.episode(*many)[0].double().numpy(), wanted)
    else:
        off = error(make_graph_check(case, device), wanted)
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
    while len(times) < ROUNDS and time.perf_counter() - began < SECONDS:
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


def run(names: Sequence[str], device: str, home: Path) -> dict[str, Any]:
    """Every workload, dense, everything adaptable."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("gpu: found no CUDA device, expected one; --device cpu only tests the code")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    cases: list[dict[str, Any]] = []
    for name in names:
        case = write(Work(name, "dense", "all"), home)
        rows = []
        for make in variants(case, device, 1):
            try:
                rows.append(measure(case, make, device, 1))
            except (RuntimeError, NotImplementedError) as failure:
                rows.append({"status": "refused", "reason": str(failure).splitlines()[0][:300]})
            print(f"gpu: {name}: {rows[-1]}", file=sys.stderr, flush=True)
            if device == "cuda":
                torch.cuda.empty_cache()
        cases.append({"workload": name, "support": len(case.x), "variants": rows})
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    about = {**machine.describe(), "gpu": gpu, "cuda": torch.version.cuda}
    return {"format": 1, "device": device, "machine": about, "steps": STEPS, "cases": cases}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", help="where the JSON goes, e.g. benchmarks/results/gpu.json")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--work", default="build/suite", type=Path, help="where cases are kept")
    args = parser.parse_args(argv)
    made = run(args.only, args.device, args.work)
    atomic_write(args.output, (json.dumps(made, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
