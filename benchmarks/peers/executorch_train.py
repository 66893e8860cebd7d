"""ExecuTorch's training module and its own gradient descent, from Python.

Its portable backward of max pooling leaves its result uncleared in this version, so pooling is spelled as a
maximum over a reshaped axis. A program has a fixed batch; predicting with adapted weights takes a program
with weights as inputs.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from benchmarks.case import Case
from benchmarks.peers.serving import Peer, main, threads
from benchmarks.workloads import QUERIES


def imports() -> None:
    """Its Python bindings need torch."""
    import torch

    torch.set_num_threads(threads())
    from executorch.extension import training  # noqa: F401


class Training:
    """Parameters are views of the program's own memory."""

    def __init__(self, case: Case, options: list[str]) -> None:
        import torch
        from executorch.extension.pybindings.portable_lib import _load_for_executorch
        from executorch.extension.training import _load_for_executorch_for_training, get_sgd_optimizer

        self.folder, self.case = case.folder, case
        self.module = _load_for_executorch_for_training(str(case.folder / "executorch.pte"))
        self.x, self.y = torch.from_numpy(case.x), torch.from_numpy(case.y)
        self.module.forward_backward("forward", (self.x, self.y))  # parameters exist from then on
        self.named = self.module.named_parameters()
        self.start = {name: value.detach().clone() for name, value in self.named.items()}
        self.optimizer = get_sgd_optimizer(self.named, case.rate)
        self.masks = {f"net.{name}": torch.from_numpy(m).float() for name, m in case.masks.items()}
        self.weights = {name: torch.from_numpy(array) for name, array in case.weights.items()}
        self.predicting = {
            count: _load_for_executorch(str(case.folder / f"executorch-{count}.pte"))
            for count in (1, QUERIES)
        }

    def reset(self) -> None:
        for name, value in self.named.items():
            value.copy_(self.start[name])

    def adapt(self, steps: int) -> None:
        for _ in range(steps):
            self.module.forward_backward("forward", (self.x, self.y))
            grads = self.module.named_gradients()
            for name, mask in self.masks.items():
                grads[name].mul_(mask)
            self.optimizer.step(grads)

    def laid(self, query: NDArray[Any]) -> Any:
        """As torch has them."""
        import torch

        return torch.from_numpy(query)

    def predict(self, query: Any) -> NDArray[Any]:
        now = self.weights | {name.removeprefix("net."): value for name, value in self.named.items()}
        inputs = [query, *(now[name] for name in self.case.weights)]
        made: NDArray[Any] = self.predicting[len(query)].forward(inputs)[0].numpy().copy()
        return made

    def artifact_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("executorch*.pte"))


def make(case: Case) -> None:
    """One program to train and two to predict."""
    import torch
    from executorch.exir import EdgeCompileConfig, to_edge
    from torch import nn
    from torch.export import export
    from torch.export.experimental import _export_forward_backward
    from torch.nn import functional as F

    from benchmarks.peers import torch_net

    def pool(x: Any, size: int) -> Any:
        n, c, h, w = x.shape
        cut = x[:, :, : h // 2 * 2, : w // 2 * 2]
        return cut.reshape(n, c, h // 2, 2, w // 2, 2).amax((3, 5))

    # The network asks torch for its pooling by name.
    setattr(F, "max_pool2d", pool)  # noqa: B010
    net = torch_net.build(case)

    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any, y: Any) -> Any:
            logits = self.net(x)
            return F.cross_entropy(logits, y), logits.detach()

    def written(program: Any, name: str) -> None:
        edge = to_edge(program, compile_config=EdgeCompileConfig(_check_ir_validity=False))
        (case.folder / name).write_bytes(edge.to_executorch().buffer)

    sample = (torch.from_numpy(case.x), torch.from_numpy(case.y))
    written(_export_forward_backward(export(Loss(), sample, strict=False)), "executorch.pte")
    names = list(case.weights)

    class Forward(nn.Module):
        def forward(self, x: Any, *parameters: Any) -> Any:
            return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (x,))

    weights = tuple(torch.from_numpy(case.weights[name]) for name in names)
    for count in (1, QUERIES):
        with torch.no_grad():
            query = torch.from_numpy(case.query[:count].copy())
            written(export(Forward(), (query, *weights), strict=False), f"executorch-{count}.pte")


if __name__ == "__main__":
    raise SystemExit(main(Peer(imports, Training, Training.laid), make=make))
