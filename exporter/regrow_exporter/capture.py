"""Capture plain torch with public `torch.export`, composite ops whole, the batch symbolic."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from regrow.errors import UnsupportedError
from regrow_exporter.resolve import resolve

# torch.export specialises on sizes 0 and 1, so the traced batch is neither, nor a likely layer width.
TRACE_BATCH = 6
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# The op itself: nn.functional.mse_loss broadcasts first, which here could only hide a wrong target shape.
LOSSES: dict[str, Loss] = {
    "cross_entropy": nn.functional.cross_entropy,
    "mse": torch.ops.aten.mse_loss.default,
    "bce": nn.functional.binary_cross_entropy_with_logits,
}


def loss_function(loss: str) -> Loss:
    """A loss by name, or the dotted path of a function or module of (outputs, class numbers)."""
    if loss in LOSSES:
        return LOSSES[loss]
    if ":" not in loss:
        raise UnsupportedError(
            f"export: loss={loss!r}, expected one of {', '.join(LOSSES)} or package.module:function"
        )
    made: Loss = resolve(loss, named_by_user=True)
    return made


def labelled(loss: str) -> bool:
    """Whether its targets are class numbers; those of the others are one float per output."""
    return loss not in ("mse", "bce")


@dataclass(frozen=True)
class Captured:
    """FX nodes; each placeholder stands for `("parameter", dotted name)` or `("input", position)`."""

    program: ExportedProgram
    placeholders: Mapping[str, tuple[str, str]]
    outputs: tuple[str, ...]
    # Placeholders that nobody binds: made by the traced code, part of the loss, or not made of floats.
    constants: Mapping[str, torch.Tensor]


class _WithLoss(nn.Module):
    def __init__(self, model: nn.Module, loss: str, head: str) -> None:
        super().__init__()
        self.model = model
        self.loss = loss_function(loss)
        self.head = head

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if not self.head:
            output = self.model(x)
            return self.loss(output, y), output
        with entering(self.model, self.head) as features:
            output = self.model(x)
        return self.loss(output, y), output, features[0]


@contextmanager
def entering(module: nn.Module, path: str) -> Iterator[list[torch.Tensor]]:
    """Collects what enters a layer, one row per sample, each time the network runs."""
    seen: list[torch.Tensor] = []
    layer = module.get_submodule(path)
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
    try:
        yield seen
    finally:
        handle.remove()


def capture_loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor, loss: str, head: str = "") -> Captured:
    """Capture `model` under `loss`; outputs are (loss, model output), and what enters `head` if given."""
    return _capture(_WithLoss(model, loss, head), (x, y), batched=2, strip="model.")


def capture_function(module: nn.Module, inputs: Sequence[Any], batched: int = 0) -> Captured:
    """Capture a pure function such as one rule update; the first `batched` inputs have a row per sample."""
    return _capture(module, tuple(inputs), batched=batched, strip="")


def _capture(module: nn.Module, inputs: tuple[Any, ...], *, batched: int, strip: str) -> Captured:
    batch = Dim("B", min=2, max=1 << 20)
    # The flash attention kernel has no public backward; the math form decomposes into ops we know.
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about its own internals here
        fixed = tuple(tree_map(lambda _: None, value) for value in inputs[batched:])
        shapes = (*({0: batch} for _ in inputs[:batched]), *fixed) if batched else None
        try:
            program = torch.export.export(module, inputs, dynamic_shapes=shapes)
        except (TorchDynamoException, GuardOnDataDependentSymNode) as error:
            raise UnsupportedError(
                f"export: torch.export cannot follow this code ({str(error).splitlines()[0]}); it has to "
                "work for any number of samples, and to branch on no tensor"
            ) from error
    roles, constants = _placeholders(program, strip)
    outputs = tuple(
        spec.arg.name for spec in program.graph_signature.output_specs if spec.kind.name == "USER_OUTPUT"
    )
    return Captured(program, roles, outputs, constants)


def _placeholders(
    program: ExportedProgram, strip: str
) -> tuple[dict[str, tuple[str, str]], dict[str, torch.Tensor]]:
    roles: dict[str, tuple[str, str]] = {}
    constants: dict[str, torch.Tensor] = {}
    kinds = ("PARAMETER", "BUFFER")
    stored: dict[str, Any] = {**program.state_dict, **program.constants}
    for spec in program.graph_signature.input_specs:
        name, target = spec.arg.name, spec.target
        if target is None:
            position = sum(kind == "input" for kind, _ in roles.values())
            roles[name] = ("input", str(position))
        elif spec.kind.name in kinds and target.startswith(strip) and stored[target].is_floating_point():
            roles[name] = ("parameter", target.removeprefix(strip))
        else:
            constants[name] = stored[target].detach()
    return roles, constants
