"""Ways to run a case's episode on a GPU: eager, compiled, as one CUDA graph, and many users at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from benchmarks.case import Case
from benchmarks.peers.torch_net import Net, build
from benchmarks.workloads import STEPS

USERS = (1, 4, 16, 64)


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


def variants(case: Case, device: str, queries: int) -> dict[str, Callable[[], Variant]]:
    """Makers by name, so that each has the device's memory to itself."""
    made: dict[str, Callable[[], Variant]] = {
        "eager": lambda: eager(Parts(case, device)),
        "torch.compile": lambda: compiled(Parts(case, device)),
    }
    if device == "cuda":
        made["CUDA graph"] = lambda: graphed(Parts(case, device), queries)
    return made | {f"{n} users at once": lambda n=n: batched(Parts(case, device), n) for n in USERS}
