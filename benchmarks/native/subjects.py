"""Whoever adapts the same episode: the engines, and loops in torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import regrow
from benchmarks.native.rows import EAGER, LAST, LR, STEPS, WAYS, Row
from regrow_exporter import export

Subject = Callable[[], None]
LEAST_ROUNDS = 7  # with the two that warm up; six pairs are the fewest that have an interval


def prepare(row: Row, path: Path) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The module, pruned at random (speed does not depend on which weights stay), its bundle, an episode."""
    torch.manual_seed(0)
    module = row.work.make()
    masks: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.ndim > 1 and not name.startswith("head") and row.sparsity:
                masks[name] = torch.rand_like(p) >= row.sparsity
                p.mul_(masks[name])
    example = torch.rand(16, *row.work.shape)
    export(module, example, adaptable=list(row.adaptable), lr=LR, steps=STEPS, masks=masks or None, path=path)
    x = torch.rand(row.work.samples, *row.work.shape)
    return module, x, torch.arange(row.work.samples) % WAYS


def engine(path: Path, name: str, x: torch.Tensor, y: torch.Tensor, plan: str = "fast") -> Subject:
    """Five steps, and what an adaptation returns besides: the loss and the statistics behind them."""
    model = regrow.open(path, engine=name, plan=plan)
    params = dict(model.session().parameters)
    arrays = np.ascontiguousarray(x.numpy()), y.numpy()
    active = np.ones(WAYS, np.bool_)
    return lambda: (model.engine.adapt(*arrays, active, params, {}, STEPS), None)[1]


def eager(row: Row, name: str, module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Subject:
    """A plain loop; features of a frozen trunk are computed once."""
    if row.adaptable != ("*",):
        return _eager_head(module, x, y)
    names = [n for n, _ in module.named_parameters()]
    inputs = x.to(memory_format=torch.channels_last) if name == LAST else x

    def adapt() -> None:
        params = [p.detach().clone().requires_grad_() for p in module.parameters()]
        for _ in range(STEPS):
            out = torch.func.functional_call(module, dict(zip(names, params, strict=True)), (inputs,))
            grads = torch.autograd.grad(F.cross_entropy(out, y), params)
            with torch.no_grad():
                torch._foreach_add_(params, grads, alpha=-LR)

    return adapt


def _eager_head(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Subject:
    head = module.get_submodule("head")
    held: list[torch.Tensor] = []

    def adapt() -> None:
        hook = head.register_forward_pre_hook(lambda _, given: held.append(given[0]))
        with torch.no_grad():
            module(x)
        hook.remove()
        features, params = held.pop(), [p.detach().clone().requires_grad_() for p in head.parameters()]
        for _ in range(STEPS):
            grads = torch.autograd.grad(F.cross_entropy(F.linear(features, *params), y), params)
            with torch.no_grad():
                torch._foreach_add_(params, grads, alpha=-LR)

    return adapt


def subjects(row: Row, path: Path) -> dict[str, Subject]:
    """All of a row, the native engine first; smaller plans where the row asks for them."""
    module, x, y = prepare(row, path)
    made = {"native": engine(path, "native", x, y)}
    if row.small:
        made["native, small plan"] = engine(path, "native", x, y, "small")
    if row.half:
        made["native, small-fp16 plan"] = engine(path, "native", x, y, "small-fp16")
    for name in row.subjects:
        is_torch = name in (EAGER, LAST)
        made[name] = eager(row, name, module, x, y) if is_torch else engine(path, name, x, y)
    return made


def turns(made: Mapping[str, Subject], seconds: float, most: int) -> dict[str, list[float]]:
    """Milliseconds of processor time, in turns: a round is one pair of each; two rounds to warm up."""
    records: dict[str, list[float]] = {name: [] for name in made}
    began = time.perf_counter()
    for i in range(most + 2):
        for name, subject in made.items():
            start = time.thread_time()
            subject()
            if i >= 2:
                records[name].append((time.thread_time() - start) * 1e3)
        if i >= LEAST_ROUNDS and time.perf_counter() - began > seconds:
            break
    return records
