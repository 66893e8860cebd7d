"""torch.compile: loss, gradients and update, one compiled graph per step. Option: `tuned`, channels last."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from benchmarks.case import Case
from benchmarks.peers.serving import Peer, main
from benchmarks.peers.torch_eager import Eager, imports
from benchmarks.workloads import QUERIES


class Compiled(Eager):
    """Parameters go in and come out; nothing is changed in place."""

    def __init__(self, case: Case, options: list[str]) -> None:
        super().__init__(case, options)
        import torch
        from torch.nn.functional import cross_entropy

        every = {name: p.detach() for name, p in self.net.named_parameters()}
        self.first = {name: every[name].clone() for name in case.moving}
        frozen = {name: every[name] for name in case.frozen}
        masks = {name: torch.from_numpy(mask).float() for name, mask in case.masks.items()}
        net, rate = self.net, case.rate

        def loss(moving: Any, x: Any, y: Any) -> Any:
            return cross_entropy(torch.func.functional_call(net, {**frozen, **moving}, (x,)), y)

        def step(moving: Any, x: Any, y: Any) -> Any:
            grads = torch.func.grad(loss)(moving, x, y)
            moved = {name: grads[name] * masks[name] if name in masks else grads[name] for name in grads}
            return {name: moving[name] - rate * moved[name] for name in moving}

        self.step = torch.compile(step, dynamic=False, fullgraph=True)
        self.forward = torch.compile(
            lambda moving, x: torch.func.functional_call(net, {**frozen, **moving}, (x,)), dynamic=False
        )
        self.now: Any = self.first

    def reset(self) -> None:
        self.now = self.first

    def adapt(self, steps: int) -> None:
        import torch

        with torch.no_grad():
            for _ in range(steps):
                self.now = self.step(self.now, self.x, self.y)

    def predict(self, query: Any) -> NDArray[Any]:
        import torch

        with torch.no_grad():
            made: NDArray[Any] = self.forward(self.now, query).numpy()
        return made


def make(case: Case) -> None:
    """What it compiles is kept in its own cache; a device would come with it."""
    imports()
    subject = Compiled(case, ["tuned"])
    subject.adapt(1)
    for count in (1, QUERIES):
        subject.predict(subject.laid(case.query[:count]))


if __name__ == "__main__":
    raise SystemExit(main(Peer(imports, Compiled, Compiled.laid), make=make))
