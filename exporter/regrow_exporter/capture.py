"""Capture plain torch with public `torch.export`, composite ops whole, the batch symbolic."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.nn.attention import SDPBackend, sdpa_kernel

# torch.export specialises on sizes 0 and 1, so the traced batch is neither, nor a likely layer width.
TRACE_BATCH = 6
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# The op itself: nn.functional.mse_loss broadcasts first, which here could only hide a wrong target shape.
LOSSES: dict[str, Loss] = {
    "cross_entropy": nn.functional.cross_entropy,
    "mse": torch.ops.aten.mse_loss.default,
}


@dataclass(frozen=True)
class Captured:
    """FX nodes; each placeholder stands for `("parameter", dotted name)` or `("input", position)`."""

    program: ExportedProgram
    placeholders: Mapping[str, tuple[str, str]]
    outputs: tuple[str, ...]


class _WithLoss(nn.Module):
    def __init__(self, model: nn.Module, loss: str) -> None:
        super().__init__()
        self.model = model
        self.loss = LOSSES[loss]

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.model(x)
        return self.loss(output, y), output


def capture_loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor, loss: str) -> Captured:
    """Capture `model` under `loss`; outputs are (loss, model output)."""
    return _capture(_WithLoss(model, loss), (x, y), dynamic=True, strip="model.")


def capture_function(module: nn.Module, inputs: Sequence[torch.Tensor]) -> Captured:
    """Capture a pure function of fixed shapes, such as one rule update."""
    return _capture(module, tuple(inputs), dynamic=False, strip="")


def _capture(module: nn.Module, inputs: tuple[torch.Tensor, ...], *, dynamic: bool, strip: str) -> Captured:
    batch = Dim("B", min=2, max=1 << 20)
    # The flash attention kernel has no public backward; the math form decomposes into ops we know.
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about its own internals here
        shapes = tuple({0: batch} for _ in inputs) if dynamic else None
        program = torch.export.export(module, inputs, dynamic_shapes=shapes)
    roles: dict[str, tuple[str, str]] = {}
    position = 0
    for spec in program.graph_signature.input_specs:
        if spec.target is None:
            roles[spec.arg.name] = ("input", str(position))
            position += 1
        else:
            roles[spec.arg.name] = ("parameter", spec.target.removeprefix(strip))
    outputs = tuple(
        spec.arg.name for spec in program.graph_signature.output_specs if spec.kind.name == "USER_OUTPUT"
    )
    return Captured(program, roles, outputs)
