"""higher: its differentiable optimizer without tracking, as one adapts with it at test time."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from benchmarks.case import Case
from benchmarks.peers.serving import Peer, main
from benchmarks.peers.torch_eager import Eager
from benchmarks.peers.torch_eager import imports as torch_imports


def imports() -> None:
    """torch, and the library on it."""
    torch_imports()
    import higher  # noqa: F401


class Higher(Eager):
    """A functional copy of the module per adaptation."""

    def __init__(self, case: Case, options: list[str]) -> None:
        super().__init__(case, options)
        self.now: Any = self.net

    def reset(self) -> None:
        self.now = self.net

    def adapt(self, steps: int) -> None:
        import higher
        from torch.nn.functional import cross_entropy

        settings = {"track_higher_grads": False, "copy_initial_weights": False}
        with higher.innerloop_ctx(self.net, self.optimizer, **settings) as (net, optimizer):
            for _ in range(steps):
                optimizer.step(cross_entropy(net(self.x), self.y))
            self.now = net

    def predict(self, query: Any) -> NDArray[Any]:
        import torch

        with torch.no_grad():
            made: NDArray[Any] = self.now(query).detach().numpy()
        return made


if __name__ == "__main__":
    raise SystemExit(main(Peer(imports, Higher, Higher.laid)))
