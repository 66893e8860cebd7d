"""A rule, captured: `update` is plain torch, so it becomes ops of the same program as the gradient."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Protocol

import torch
from torch import nn

from regrow.errors import UnsupportedError
from regrow.program import Value
from regrow_exporter.capture import capture_function
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Context, Importer, import_nodes

Tensors = Mapping[str, torch.Tensor]


class Rule(Protocol):
    """How parameters change while adapting: pure functions of dicts of tensors."""

    @property
    def meta(self) -> "MetaFunction": ...
    @property
    def init(self) -> "InitFunction": ...
    @property
    def update(self) -> "UpdateFunction": ...


class MetaFunction(Protocol):
    def __call__(self, params: Tensors, /) -> Tensors: ...


class InitFunction(Protocol):
    def __call__(self, meta: Tensors, params: Tensors, /) -> Tensors: ...


class UpdateFunction(Protocol):
    def __call__(
        self, meta: Tensors, params: Tensors, grads: Tensors, state: Tensors, step: torch.Tensor, /
    ) -> tuple[Tensors, Tensors]: ...


class _Flat(nn.Module):
    """`update` over a flat list of tensors, since an exported signature is positional."""

    def __init__(self, rule: Rule, meta: Sequence[str], params: Sequence[str], state: Sequence[str]) -> None:
        super().__init__()
        self.rule, self.names = rule, (tuple(meta), tuple(params), tuple(params), tuple(state))

    def forward(self, *flat: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rest = iter(flat)
        meta, params, grads, state = ({n: next(rest) for n in names} for names in self.names)
        new, new_state = self.rule.update(meta, params, grads, state, next(rest))
        return (*(new[n] for n in self.names[1]), *(new_state[n] for n in self.names[3]))


def rates_for(rule: Rule, params: Tensors, trained: Tensors | None, trained_for: Sequence[str]) -> Tensors:
    """The rule's own tensors for a set of parameters: trained ones where there are any, never a mixture."""
    if trained is not None and list(params) == list(trained_for):
        return trained
    fresh = rule.meta(params)
    if trained is None:
        return fresh
    if missing := [n for n in fresh if n not in trained]:
        raise UnsupportedError(
            f"export: the rule was trained without {', '.join(missing[:3])}; adapt what it was trained for"
        )
    return {n: trained[n] for n in fresh}


def _place(rule: Rule) -> str:
    """Where `update` was written."""
    code = getattr(rule.update, "__code__", None)
    return f"the rule ({PurePath(code.co_filename).name}:{code.co_firstlineno})" if code else "the rule"


def import_rule(
    graph: Graph,
    rule: Rule,
    meta: Tensors,
    params: Tensors,
    grads: Mapping[str, str],
    table: Mapping[str, Importer],
) -> dict[str, str]:
    """Append one update; returns the value of every new parameter and new `state:` entry."""
    state = rule.init(meta, params)
    for prefix, tensors, role in (("meta:", meta, "frozen"), ("state:", state, "state")):
        for name, tensor in tensors.items():
            dtype = str(tensor.dtype).removeprefix("torch.")
            graph.declare(prefix + name, Value(tuple(tensor.shape), dtype, role))  # type: ignore[arg-type]
    graph.declare("step", Value((), "int64", "input"))
    likes = [*meta.values(), *params.values(), *params.values(), *state.values()]
    # Every input its own tensor: torch.export takes two names for one tensor to be one input.
    flat = [torch.zeros_like(t) for t in likes] + [torch.zeros((), dtype=torch.int64)]
    captured = capture_function(_Flat(rule, tuple(meta), tuple(params), tuple(state)), flat)
    names = [f"meta:{n}" for n in meta] + list(params) + [grads[n] for n in params]
    names += [f"state:{n}" for n in state] + ["step"]
    values = {node: names[int(at)] for node, (kind, at) in captured.placeholders.items() if kind == "input"}
    outputs = import_nodes(Context(graph, place=_place(rule)), captured, values, table)
    return dict(zip([*params, *(f"state:{n}" for n in state)], outputs, strict=True))
