"""What a rule costs a device beside the gradient, and what regrowing costs: counted, not timed."""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from regrow.encoding import encode_sparse
from regrow.manifest import Manifest
from regrow.program import Op, Value
from regrow_exporter.draft import Draft
from regrow_exporter.graph import Graph
from regrow_exporter.learners import Moving
from regrow_exporter.ops import IMPORT
from regrow_exporter.rule import Rule, Tensors, import_rule, place_of

# Kinds that multiply once per number they make; an addition alone is free beside a multiplication.
_PRODUCTS = {"mul", "div"}
# Kinds whose every number is a function of one number that costs more than a product.
_FUNCTIONS = {"sigmoid", "tanh", "log", "exp", "sqrt", "pow_tensor"}

Cost = dict[str, int]
Values = Mapping[str, Value]


def counted(draft: Draft, moving: Moving) -> dict[str, Cost]:
    """Of a bundle about to be written."""
    learner, deployed = draft.learner, draft.programs.deployed
    if learner.head:
        return {}
    place = place_of(learner.rule.update)
    own = [(op, part.values) for part in deployed.values() for op in part.ops if op.source == place]
    read = {name: part.values[name] for part in deployed.values() for name in part.inputs}
    made = {"step": _cost(own, read)}
    if moving.update == "pruned" and moving.masks:
        made["regrown"] = regrown(draft.manifest, {n: m.numpy() for n, m in moving.masks.items()})
    return made


def rule_cost(rule: Rule, meta: Tensors, params: Tensors) -> Cost:
    """The cost of a rule that is not exported, beside one that is."""
    graph = Graph()
    for name, tensor in params.items():
        graph.declare(name, Value(tuple(tensor.shape), role="adaptable"))
        graph.declare(f"grad:{name}", Value(tuple(tensor.shape), role="input"))
    import_rule(graph, rule, meta, params, {n: f"grad:{n}" for n in params}, IMPORT)
    read = {name for op in graph.ops for name in op.inputs}
    return _cost(
        [(op, graph.values) for op in graph.ops], {n: v for n, v in graph.values.items() if n in read}
    )


def _cost(ops: Sequence[tuple[Op, Values]], read: Values) -> Cost:
    """Bytes carried from step to step, bytes of the rule's own tensors, and the arithmetic of one step.

    `multiply_adds` counts products, `functions` exponentials and their like.
    """
    return {
        "state_bytes": sum(_bytes(v) for v in read.values() if v.role == "state"),
        "rate_bytes": sum(_bytes(v) for n, v in read.items() if n.startswith("meta:")),
        "multiply_adds": sum(_products(op, values) for op, values in ops),
        "functions": sum(_made(op, values) for op, values in ops if op.kind in _FUNCTIONS),
    }


def regrown(manifest: Manifest, masks: Mapping[str, NDArray[np.bool_]]) -> Cost:
    """Of adapting what was pruned: the weights become dense, and a delta holds whatever moved.

    `delta_bytes` is the most that a saved session's parameters take: every position that may move has moved.
    """
    moving = [p for p in manifest.parameters if p.adaptable != "none"]
    delta = 0
    for p in moving:
        changed = ~masks[p.name] if p.adaptable == "pruned" else np.ones(p.shape, np.bool_)
        values = np.zeros(int(changed.sum()), np.float32)
        delta += min(encode_sparse(values, changed).nbytes, 4 * p.size)
    support = max(manifest.peak_bytes, key=int)
    return {
        "stored_bytes": sum(p.bytes for p in moving),
        "dense_bytes": sum(4 * p.size for p in moving),
        "support": int(support),
        "peak_bytes": manifest.peak_bytes[support],
        "delta_bytes": delta,
    }


def _bytes(value: Value) -> int:
    return prod(value.shape) * np.dtype(value.dtype).itemsize


def _made(op: Op, values: Values) -> int:
    return prod(values[op.outputs[0]].shape)


def _products(op: Op, values: Values) -> int:
    if op.kind in _PRODUCTS and values[op.outputs[0]].dtype == "float32":
        return _made(op, values)
    if op.kind in ("matmul", "linear", "batch_matmul"):
        return _made(op, values) * values[op.inputs[0]].shape[-1]
    return 0


def tensors_of(module: torch.nn.Module, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Some parameters of a module, by name."""
    params = dict(module.named_parameters())
    return {n: params[n].detach() for n in names}
