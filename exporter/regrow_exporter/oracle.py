"""What torch computes, in one precision: loss, gradients and the K-step update, by autograd and the rule."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from regrow_exporter.capture import entering, loss_function
from regrow_exporter.metric import Head, fitted
from regrow_exporter.programs import Learner

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Oracle:
    """What torch computes in one precision."""

    loss: float
    grads: dict[str, NDArray[Any]]
    params: dict[str, NDArray[Any]]
    losses: tuple[float, ...]
    output: NDArray[Any]
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)


def oracle(
    learner: Learner,
    x: NDArray[Any],
    y: NDArray[Any],
    steps: int,
    dtype: torch.dtype,
    jitter: int = 0,
    roundings: int = 1,
) -> Oracle:
    """Adapt with torch; `jitter` seeds a move of x by that many roundings in that precision."""
    module = copy.deepcopy(learner.module).to(dtype)
    stored = learner.tensors()
    # The state starts from what the bundle stores, which was made in float32.
    state = _cast(learner.rule.init(learner.meta, {n: stored[n] for n in learner.adaptable}), dtype)
    meta, fixed = _cast(learner.meta, dtype), _cast(stored, dtype)
    params = {n: fixed.pop(n) for n in learner.adaptable}
    inputs, target = _cast({"x": torch.from_numpy(x), "y": torch.from_numpy(y)}, dtype).values()
    inputs = jittered(inputs, jitter, roundings) if jitter else inputs
    loss_of = loss_function(learner.loss, learner.loss_args)
    losses: list[float] = []
    first: dict[str, NDArray[Any]] = {}
    with _computing_in(dtype):
        for step in range(steps):
            live = {n: p.detach().requires_grad_() for n, p in params.items()}
            loss = loss_of(functional_call(module, {**fixed, **live}, (inputs,)), target)
            grads = dict(zip(live, torch.autograd.grad(loss, list(live.values())), strict=True))
            losses.append(float(loss.detach()))
            first = first or {n: g.numpy() for n, g in grads.items()}
            new, made = learner.rule.update(meta, params, grads, state, torch.tensor(step))
            params, state = _moved(learner, params, new), dict(made)
        with torch.no_grad():
            output = functional_call(module, {**fixed, **params}, (inputs,)).numpy()
    final = {n: p.detach().numpy() for n, p in params.items()}
    return Oracle(losses[0], first, final, tuple(losses), output, state)


def fitted_oracle(
    learner: Learner, rounds: Sequence[tuple[NDArray[Any], NDArray[Any]]], dtype: torch.dtype, jitter: int = 0
) -> list[Oracle]:
    """Fit a metric head with torch, round after round; each has its loss before and after, and its answers.

    Every round must have the samples of the first, whose statistics serve them all.
    """
    module = copy.deepcopy(learner.module).to(dtype)
    head = module.get_submodule(learner.head)
    assert isinstance(head, Head)
    loss_of = loss_function(learner.loss, learner.loss_args)
    made: list[Oracle] = []
    with torch.no_grad(), _computing_in(dtype):
        for x, y in rounds:
            inputs, target = _cast({"x": torch.from_numpy(x), "y": torch.from_numpy(y)}, dtype).values()
            inputs = jittered(inputs, jitter) if jitter else inputs
            with entering(module, learner.head) as features:
                before = loss_of(module(inputs), target)
            new = fitted(head.rule, head.carried(), features[0], target)
            for name, value in new.items():
                head.get_parameter(name).copy_(value)
            output = module(inputs)
            final = {f"{learner.head}.{n}": v.numpy() for n, v in new.items()}
            losses = (float(before), float(loss_of(output, target)))
            made.append(Oracle(losses[0], {}, final, losses, output.numpy()))
    return made


def _cast(tensors: Tensors, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Copies, floats in `dtype`."""
    return {
        n: t.detach().to(dtype if t.is_floating_point() else t.dtype, copy=True) for n, t in tensors.items()
    }


def jittered(x: torch.Tensor, seed: int, roundings: int = 1) -> torch.Tensor:
    """Every number moved by about so many units in its last place."""
    generator = torch.Generator().manual_seed(seed)
    # Computed in float64, where a factor nearer to one than this is one.
    unit = 4 * torch.finfo(x.dtype).eps if x.dtype == torch.float64 else torch.finfo(x.dtype).eps
    rounding = torch.rand(x.shape, generator=generator, dtype=torch.float64) - 0.5
    return (x.double() * (1 + rounding * unit * roundings)).to(x.dtype)


def _moved(learner: Learner, params: Tensors, new: Tensors) -> dict[str, torch.Tensor]:
    """The new values, where they may move."""
    return {
        n: torch.where(learner.moves[n], new[n], p) if n in learner.moves else new[n]
        for n, p in params.items()
    }


class _Doubled(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every float32 becomes float64: a rule that says `step.float()` must not round what proves it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(_double, (args, kwargs or {}))
        # Whole numbers divided, or raised to a power, become what floats are by default.
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return func(*args, **kwargs)
        finally:
            torch.set_default_dtype(default)


def _double(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.double() if value.dtype == torch.float32 else value
    return torch.float64 if value is torch.float32 else value


@contextmanager
def _computing_in(dtype: torch.dtype) -> Iterator[None]:
    """float32 as written, or everything in float64."""
    if dtype == torch.float64:
        with _Doubled():  # type: ignore[no-untyped-call]
            yield
    else:
        yield
