"""Capture plain torch with public `torch.export`, composite ops whole, the batch symbolic."""

import functools
import inspect
import json
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from torch.export import Dim, ExportedProgram
from torch.func import functional_call
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from regrow.errors import UnsupportedError
from regrow_exporter.resolve import resolve
from regrow_exporter.ties import ties

# torch.export specialises on sizes 0 and 1, so the traced batch is neither, nor a likely layer width.
TRACE_BATCH = 6
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# The op itself: nn.functional.mse_loss broadcasts first, which here could only hide a wrong target shape.
LOSSES: dict[str, Loss] = {
    "cross_entropy": nn.functional.cross_entropy,
    "mse": torch.ops.aten.mse_loss.default,
    "bce": nn.functional.binary_cross_entropy_with_logits,
}


# Frames of torch, of the exporter and of generated code are nobody's to change.
_NOT_THEIRS = (str(PurePath(torch.__file__).parent), str(PurePath(__file__).parent), "<")
NO_ARGS: Mapping[str, Any] = {}


class _CrossEntropy(nn.Module):
    """With options: smoothed labels, classes that weigh differently."""

    weight: torch.Tensor | None

    def __init__(self, label_smoothing: float = 0.0, weight: Sequence[float] | None = None) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", None if weight is None else torch.tensor(weight))

    def forward(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs, y, self.weight, label_smoothing=self.label_smoothing)


def loss_function(loss: str, args: Mapping[str, Any] = NO_ARGS) -> Loss:
    """A loss by name, or the dotted path of a function or module of (outputs, class numbers)."""
    if loss == "cross_entropy" and args:
        return _CrossEntropy(**args)
    if loss in LOSSES:
        return LOSSES[loss]
    if ":" not in loss:
        raise UnsupportedError(
            f"export: loss={loss!r}, expected one of {', '.join(LOSSES)} or package.module:function"
        )
    made: Loss = resolve(loss, named_by_user=True)
    return functools.partial(made, **args) if args else made


def loss_options(loss: str, args: Mapping[str, Any], outputs: int) -> dict[str, Any]:
    """The options of a loss as plain data, checked; those of a function of one's own only for their names."""
    if ":" in loss and args:
        _check_names(loss, args, tuple(inspect.signature(loss_function(loss)).parameters)[2:])
        _check_plain(args)
        return dict(args)
    allowed = ("label_smoothing", "weight") if loss == "cross_entropy" else ()
    _check_names(loss, args, allowed)
    smoothing, made = args.get("label_smoothing", 0.0), dict(args)
    if not isinstance(smoothing, int | float) or not 0 <= smoothing < 1:
        raise UnsupportedError(f"export: label_smoothing={smoothing!r}, expected a number in [0, 1)")
    if made.pop("weight", None) is not None:
        try:
            weight = np.asarray(args["weight"], np.float64)
        except (TypeError, ValueError) as error:
            raise UnsupportedError(f"export: weight: {error}; give {outputs} numbers") from error
        # A weight of zero would make the loss of a support set of that class alone 0 / 0.
        if weight.shape != (outputs,) or not (np.isfinite(weight) & (weight > 0)).all():
            raise UnsupportedError(
                f"export: weight of shape {weight.shape}, {weight.tolist()}; expected {outputs} above zero, "
                "one per output of the model"
            )
        made["weight"] = [float(v) for v in weight]
    return made


def _check_plain(args: Mapping[str, Any]) -> None:
    """The manifest says what a device learns by, so options are what JSON can say."""
    try:
        json.dumps(args)
    except TypeError as error:
        raise UnsupportedError(f"export: loss_args: {error}; give numbers, texts and lists") from error


def _check_names(loss: str, args: Mapping[str, Any], allowed: Sequence[str]) -> None:
    unknown = [name for name in args if name not in allowed]
    if unknown:
        raise UnsupportedError(
            f"export: loss {loss!r} has no option {', '.join(unknown)}, expected "
            f"{' or '.join(allowed) or 'none at all'}"
        )


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
    def __init__(self, model: nn.Module, loss: Loss, head: str) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.head = head

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if not self.head:
            output = self.model(x)
            return self.loss(output, y), output
        with entering(self.model, self.head) as features:
            output = self.model(x)
        return self.loss(output, y), output, features[0]


def tried(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What the network makes of samples. Its buffers, such as tracked statistics, are left as they are."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with torch.no_grad():
        output: torch.Tensor = functional_call(module, buffers, (x,))
    return output


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


def capture_loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor, loss: Loss, head: str = "") -> Captured:
    """Capture `model` under `loss`; outputs are (loss, model output), and what enters `head` if given."""
    captured = _capture(_WithLoss(model, loss, head), (x, y), batched=2, strip="model.")
    tied = ties(model)
    first = {node: (kind, tied.get(name, name)) for node, (kind, name) in captured.placeholders.items()}
    return replace(captured, placeholders=first)


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
                f"export: torch.export cannot follow this code{_place(error)} "
                f"({str(error).splitlines()[0]}); it has to work for any number of samples, and to branch on "
                "no tensor"
            ) from error
    roles, constants = _placeholders(program, strip)
    outputs = tuple(
        spec.arg.name for spec in program.graph_signature.output_specs if spec.kind.name == "USER_OUTPUT"
    )
    return Captured(program, roles, outputs, constants)


def _place(error: BaseException) -> str:
    """The last line of the user's own that led to an error."""
    own = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_NOT_THEIRS)]
    return f" in {own[-1].name} ({PurePath(own[-1].filename).name}:{own[-1].lineno})" if own else ""


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
