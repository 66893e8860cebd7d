"""From a torch module and a rule to the four programs of a bundle (and the gradient that proves them).

`prefix` does not depend on anything that changes and runs once per support set; `step` runs K times;
`finish` takes the loss and the statistics under the adapted parameters; `predict` serves queries. A metric
head has no gradient: its only step is the fit, and `prefix` may read state as it is before that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from regrow.errors import UnsupportedError
from regrow.program import Op, Program, Role, Value
from regrow.values import Mask
from regrow_exporter.capture import TRACE_BATCH, Captured, capture_loss, labelled, loss_function, tried
from regrow_exporter.differentiate import differentiate, undifferentiable
from regrow_exporter.graph import Graph, cut, dependents
from regrow_exporter.importer import Context, import_nodes
from regrow_exporter.metric import FITTED, Head, import_fit, keep_statistics
from regrow_exporter.ops import IMPORT, VJP
from regrow_exporter.refusal import UnsupportedOpsError
from regrow_exporter.rule import Rule, import_rule
from regrow_exporter.simplify import AS_CAPTURED, Simplified, simplify


@dataclass(frozen=True)
class Learner:
    """What is exported: the network, what may change in it, where, how, and against which loss."""

    module: nn.Module
    shape: tuple[int, ...]
    adaptable: tuple[str, ...]
    rule: Rule
    meta: Mapping[str, torch.Tensor]
    loss: str
    # Per masked adaptable tensor: the positions that may move.
    moves: Mapping[str, torch.Tensor]
    loss_args: Mapping[str, Any] = field(default_factory=dict)
    # The dotted name of the metric head in the module, which is fitted where another learner steps; else "".
    head: str = ""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers by dotted name."""
        named = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        return {name: tensor.detach() for name, tensor in named.items()}


@dataclass(frozen=True)
class Programs:
    """The programs, and what feeds them."""

    deployed: Mapping[str, Program]  # prefix, step, finish, predict
    # For verification only, and a fit has neither: loss and "grad:<name>" at once, and as prefix, step and
    # finish whose step replaces each parameter by its gradient, so that any engine can be asked for it.
    gradient: Program | None
    slope: Mapping[str, Program]
    outputs: int
    statistics: tuple[str, ...]  # "stat:<name>", made by finish and read by predict
    simplified: Simplified = AS_CAPTURED  # frozen tensors that differ from the module's


def width(module: nn.Module, shape: tuple[int, ...]) -> int:
    """How many outputs the network has."""
    return int(tried(module, torch.zeros(TRACE_BATCH, *shape)).shape[1])


def capture(
    module: nn.Module, shape: tuple[int, ...], loss: str, loss_args: Mapping[str, Any], head: str = ""
) -> Captured:
    """The network under its loss. What is adaptable, the rule and the values of the weights play no part."""
    outputs = width(module, shape)
    y = torch.arange(TRACE_BATCH) % outputs if labelled(loss) else torch.zeros(TRACE_BATCH, outputs)
    return capture_loss(module, torch.zeros(TRACE_BATCH, *shape), y, loss_function(loss, loss_args), head)


def build(
    learner: Learner,
    *,
    transductive: bool = False,
    captured: Captured | None = None,
    simplified: bool = False,
) -> Programs:
    """Capture (unless that was done), import, simplify where asked, differentiate, split.

    A transductive predict normalises by its own queries.
    """
    outputs = width(learner.module, learner.shape)
    if captured is None:
        captured = capture(learner.module, learner.shape, learner.loss, learner.loss_args, learner.head)
    graph = _declare(learner, outputs)
    context = Context(graph, {"active": "active"})
    try:
        results = import_nodes(context, captured, _placeholders(captured), IMPORT)
        if not learner.head and (lacking := undifferentiable(graph, learner.adaptable, VJP)):
            raise UnsupportedOpsError(lacking)
    except UnsupportedOpsError as error:
        raise UnsupportedOpsError(_problems(context, learner, error)) from None
    statistics, made = context.statistics, AS_CAPTURED
    if simplified:
        graph, names, made = simplify(graph, results, statistics, *_weights(learner))
        results = tuple(names[name] for name in results)
        statistics = {norm: (names[mean], names[var]) for norm, (mean, var) in statistics.items()}
    loss, output, *features = results
    forward = list(graph.ops)
    stats = {
        f"stat:{norm}.{part}": value
        for norm, pair in ({} if transductive else statistics).items()
        for part, value in zip(("mean", "var"), pair, strict=True)
    }
    gradient: Program | None = None
    slope: dict[str, Program] = {}
    if learner.head:
        deployed = _fitted(graph, learner, loss, features[0], stats)
    else:
        gradient, slope, deployed = _stepped(graph, learner, loss, stats)
    deployed["predict"] = _predict(graph, forward, output, stats)
    return Programs(deployed, gradient, slope, outputs, tuple(stats), made)


def _weights(learner: Learner) -> tuple[dict[str, NDArray[Any]], dict[str, Mask]]:
    """Every tensor, and of those of which only a part moves, where the rest is zero."""
    tensors = {name: tensor.numpy() for name, tensor in learner.tensors().items()}
    zeros = {n: np.asarray(~moves.numpy() & (tensors[n] == 0)) for n, moves in learner.moves.items()}
    return tensors, zeros


def _problems(context: Context, learner: Learner, error: UnsupportedOpsError) -> list[str]:
    """Everything in the way, where something is: of the network, of its gradient and of its rule."""
    made = list(error.problems)
    if learner.head:
        return made
    moving = list(learner.adaptable)
    for name, read in context.stand_ins.items():
        moving += [name] if dependents(context.graph.ops, moving).intersection(read) else []
    made += undifferentiable(context.graph, moving, VJP)
    # Gradients stand in for themselves: the rule is asked for its own ops only.
    alone, tensors = _declare(learner, 1), learner.tensors()
    grads = {n: alone.declare(f"grad:{n}", alone.values[n]) for n in learner.adaptable}
    params = {n: tensors[n] for n in learner.adaptable}
    try:
        import_rule(alone, learner.rule, learner.meta, params, grads, IMPORT)
    except UnsupportedOpsError as other:
        made += other.problems
    except UnsupportedError as other:
        made.append(f"the rule: {str(other).removeprefix('export: ')}")
    return made


def _stepped(
    graph: Graph, learner: Learner, loss: str, stats: Mapping[str, str]
) -> tuple[Program, dict[str, Program], dict[str, Program]]:
    """The gradient, in both forms, and the programs of a rule that steps along it."""
    forward = list(graph.ops)
    grads = differentiate(graph, loss, learner.adaptable, VJP)
    gradient = cut(graph, graph.ops, {"loss": loss, **{f"grad:{n}": g for n, g in grads.items()}})
    slope = _split(graph, forward, learner.adaptable, loss, grads, stats)
    new = _updates(graph, learner, grads)
    moving = [*learner.adaptable, *(name for name in new if name.startswith("state:"))]
    return gradient, slope, _split(graph, forward, moving, loss, new, stats)


def _fitted(
    graph: Graph, learner: Learner, loss: str, features: str, stats: Mapping[str, str]
) -> dict[str, Program]:
    """The programs of a head that is fitted once, in the first step; whatever comes after changes nothing."""
    used, kept = keep_statistics(graph, stats)
    forward = list(graph.ops)
    head = learner.module.get_submodule(learner.head)
    assert isinstance(head, Head)
    new = import_fit(graph, head, learner.head, features, IMPORT) | kept
    graph.declare("step", Value((), "int64", "input"))
    first = graph.one("equal", "step", graph.one("full", shape=(), value=0, dtype="int64"))
    new = {name: graph.one("select", first, value, name) for name, value in new.items()}
    if kept:
        new[FITTED] = graph.one("logical_or", FITTED, first)
    return _split(graph, forward, learner.adaptable, loss, new, used)


def _declare(learner: Learner, outputs: int) -> Graph:
    graph = Graph()
    graph.declare("x", Value((-1, *learner.shape), role="input"))
    if labelled(learner.loss):
        graph.declare("y", Value((-1,), "int64", "input"))
        graph.declare("active", Value((outputs,), "bool", "input"))
    else:
        graph.declare("y", Value((-1, outputs), role="input"))
    for name, tensor in learner.tensors().items():
        role: Role = "adaptable" if name in learner.adaptable else "frozen"
        graph.declare(name, Value(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), role))
    return graph


def _placeholders(captured: Captured) -> dict[str, str]:
    return {
        node: target if kind == "parameter" else ("x", "y")[int(target)]
        for node, (kind, target) in captured.placeholders.items()
    }


def _updates(graph: Graph, learner: Learner, grads: Mapping[str, str]) -> dict[str, str]:
    """New value of everything carried from step to step, moved only where it may move."""
    graph.source = "rule.update"
    tensors = learner.tensors()
    params = {name: tensors[name] for name in learner.adaptable}
    new = import_rule(graph, learner.rule, learner.meta, params, grads, IMPORT)
    for name, mask in learner.moves.items():
        mask_name = graph.declare(f"mask:{name}", Value(tuple(mask.shape), "bool", "frozen"))
        # Selected, never multiplied: inf * 0 is NaN, and untouched weights must stay bit-identical.
        new[name] = graph.one("select", mask_name, new[name], name)
    # State that nothing reads would be carried for nothing.
    read = {name for op in graph.ops for name in op.inputs} | set(new.values())
    return {name: value for name, value in new.items() if name in read or not name.startswith("state:")}


def _split(
    graph: Graph,
    forward: Sequence[Op],
    carried: Sequence[str],
    loss: str,
    new: Mapping[str, str],
    stats: Mapping[str, str],
) -> dict[str, Program]:
    """Prefix, step and finish; what depends on `carried` changes from step to step."""
    moving = dependents(graph.ops, [*carried, "step"])
    step_out = {"loss": loss, **{f"next:{name}": value for name, value in new.items()}}
    finish_out = {"loss": loss, **stats}
    # A constant is cheaper to repeat than to hand over.
    fixed = {
        name
        for op in graph.ops
        if op.kind != "constant" and not moving.intersection(op.outputs)
        for name in op.outputs
    }
    step = cut(graph, [op for op in graph.ops if op.outputs[0] not in fixed], step_out)
    finish = cut(graph, [op for op in forward if op.outputs[0] not in fixed], finish_out)
    handed = [n for n in dict.fromkeys((*step.inputs, *finish.inputs)) if n in fixed]
    prefix = cut(graph, graph.ops, {name: name for name in handed})
    return {"prefix": prefix, "step": step, "finish": finish}


def _predict(graph: Graph, forward: Sequence[Op], output: str, stats: Mapping[str, str]) -> Program:
    """The forward pass with every batch statistic replaced by the one the support set left behind."""
    public = {value: name for name, value in stats.items()}
    for value, name in public.items():
        graph.declare(name, Value(graph.shape(value), role="input"))
    return cut(graph, [_frozen(op, public) for op in forward], {"logits": output})


def _frozen(op: Op, public: Mapping[str, str]) -> Op:
    if op.kind != "batch_norm" or op.outputs[1] not in public:
        return op
    statistics = tuple(public[name] for name in op.outputs[1:])
    return Op("batch_norm_frozen", (*op.inputs, *statistics), op.outputs[:1], op.attrs, op.source)
