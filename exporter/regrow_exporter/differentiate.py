"""Reverse-mode differentiation of a program by our own rules: only what the wanted gradients need."""

from collections.abc import Callable, Mapping, Sequence

from regrow.errors import UnsupportedError
from regrow.program import Op
from regrow_exporter.accumulate import Joined, total
from regrow_exporter.graph import Graph
from regrow_exporter.refusal import UnsupportedOpsError

# (graph, op, output gradients or "", which inputs need one) -> a gradient per input, "" where not needed.
Vjp = Callable[[Graph, Op, Sequence[str], Sequence[bool]], Sequence[str]]


def differentiate(graph: Graph, loss: str, wanted: Sequence[str], table: Mapping[str, Vjp]) -> dict[str, str]:
    """Append the backward pass; returns the value holding d loss / d name for each wanted name."""
    forward = list(graph.ops)
    need = _carriers(graph, forward, wanted)
    path = [op for op in forward if need.intersection(op.outputs)]
    if problems := undifferentiable(graph, wanted, table):
        raise UnsupportedOpsError(problems)
    if loss not in need:
        raise UnsupportedError("export: the loss does not depend on any adaptable parameter")
    grads: dict[str, list[str]] = {loss: [graph.constant(1.0)]}
    joined: Joined = {}
    for op in reversed(path):
        graph.source = op.source
        dys = [total(graph, grads[name], joined) if name in grads else "" for name in op.outputs]
        if any(dys):
            wants = [name in need for name in op.inputs]
            for name, dx in zip(op.inputs, table[op.kind](graph, op, dys, wants), strict=True):
                if dx:
                    grads.setdefault(name, []).append(dx)
    missing = [name for name in wanted if name not in grads]
    if missing:
        raise UnsupportedError(
            f"export: the loss does not depend on {', '.join(missing)}; leave them out of the adaptable set"
        )
    return {name: total(graph, grads[name], joined) for name in wanted}


def _carriers(graph: Graph, ops: Sequence[Op], wanted: Sequence[str]) -> set[str]:
    """What depends on a wanted value smoothly: truth values and whole numbers carry no gradient."""
    reached = set(wanted)
    for op in ops:
        if reached.intersection(op.inputs):
            reached.update(n for n in op.outputs if n and graph.values[n].dtype == "float32")
    return reached


def undifferentiable(graph: Graph, wanted: Sequence[str], table: Mapping[str, Vjp]) -> list[str]:
    """The ops so far that a gradient would have to pass and cannot."""
    need = _carriers(graph, graph.ops, wanted)
    lacking = [op for op in graph.ops if need.intersection(op.outputs) and op.kind not in table]
    return [f"{op.kind} in {op.source}: no gradient; freeze what it depends on" for op in lacking]
