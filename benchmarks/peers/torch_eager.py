"""PyTorch eager. Options: `tuned` (channels last, no optimizer), `cached` (frozen layers run once)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks.case import Case
from benchmarks.peers.serving import Peer, main, threads


def imports() -> None:
    """As an application would, on one thread."""
    import torch

    torch.set_num_threads(threads())


class Eager:
    """The usual loop; pruned weights are kept by masking their gradients."""

    def __init__(self, case: Case, options: list[str]) -> None:
        import torch

        from benchmarks.peers.torch_net import build

        self.tuned, self.prefix = "tuned" in options, case.prefix() if "cached" in options else 0
        if "cached" in options and not self.prefix:
            raise NotImplementedError(
                "nothing is frozen before the first layer that adapts: nothing to cache"
            )
        self.net = build(case)
        if self.tuned:
            self.net = self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        named = [(name, p) for name, p in self.net.named_parameters() if p.requires_grad]
        self.moving: list[torch.Tensor] = [p for _, p in named]
        self.start = [p.detach().clone() for p in self.moving]
        self.masks = [
            (i, torch.from_numpy(case.masks[name]).float())
            for i, (name, _) in enumerate(named)
            if name in case.masks
        ]
        self.rate = case.rate
        self.optimizer = torch.optim.SGD(self.moving, lr=case.rate)
        self.x, self.y = self.laid(case.x), torch.from_numpy(case.y)

    def laid(self, array: NDArray[Any]) -> Any:
        """Images with the channels last where that is the faster way."""
        import torch

        x = torch.from_numpy(array)
        return x.contiguous(memory_format=torch.channels_last) if self.tuned and x.ndim == 4 else x

    def reset(self) -> None:
        import torch

        with torch.no_grad():
            torch._foreach_copy_(self.moving, self.start)

    def adapt(self, steps: int) -> None:
        import torch
        from torch.nn.functional import cross_entropy

        x = self.x
        if self.prefix:
            with torch.no_grad():
                x = self.net(x, 0, self.prefix)
        for _ in range(steps):
            loss = cross_entropy(self.net(x, self.prefix), self.y)
            if self.tuned:
                grads: list[Any] = list(torch.autograd.grad(loss, self.moving))
            else:
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                grads = [p.grad for p in self.moving]
            for i, mask in self.masks:
                grads[i].mul_(mask)
            if self.tuned:
                with torch.no_grad():
                    torch._foreach_add_(self.moving, grads, alpha=-self.rate)
            else:
                self.optimizer.step()

    def predict(self, query: Any) -> NDArray[Any]:
        import torch

        with torch.inference_mode():
            made: NDArray[Any] = self.net(query).numpy()
        return made

    def artifact_bytes(self) -> int:
        import torch

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.pt"
            torch.save(self.net.state_dict(), path)
            return path.stat().st_size


if __name__ == "__main__":
    raise SystemExit(main(Peer(imports, Eager, Eager.laid)))
