"""Turn captured ATen nodes into our ops. Collects every unsupported node before it complains."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import torch
from torch.fx import Node

from regrow.errors import UnsupportedError
from regrow.program import Value
from regrow_exporter.capture import TRACE_BATCH, Captured
from regrow_exporter.graph import Graph
from regrow_exporter.refusal import UnsupportedOpsError


@dataclass
class Context:
    """What an importer may use: the graph to append to, and where the node came from."""

    graph: Graph
    targets: Mapping[str, str] = field(default_factory=dict)  # "active" -> value name, for losses
    statistics: dict[str, tuple[str, str]] = field(default_factory=dict)  # norm's module path -> mean, var
    module: str = ""
    place: str = ""  # what to blame where the trace shows only our own code, as for a rule
    # Values in place of what could not be imported, and what it would have read: what follows is judged too.
    stand_ins: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Size:
    """A dimension traced from a shape, in our notation: -k is k times the batch."""

    value: int


Arguments = Mapping[str, Any]
# An op with several outputs gives a tuple, which only `operator.getitem` takes apart.
Result = str | tuple[str, ...]
Names = dict[Node, Result | Size | None]
Importer = Callable[[Context, Arguments], Result]
# A larger constant would swell every program that reads it; a buffer is stored once.
MAX_CONSTANT = 1 << 14


def import_nodes(
    context: Context, captured: Captured, values: Mapping[str, str], table: Mapping[str, Importer]
) -> tuple[str, ...]:
    """Append the captured computation; `values` names what each placeholder reads. Returns its outputs."""
    names: Names = {}
    problems: list[str] = []
    for node in captured.program.graph.nodes:
        if node.op == "placeholder":
            names[node] = values.get(node.name)
            if node.name in captured.constants:
                names[node] = _constant(context, node, captured.constants[node.name], problems)
        elif node.op == "call_function":
            names[node] = _import(context, node, names, table, problems)
    if problems:
        raise UnsupportedOpsError(problems)
    by_name = {node.name: name for node, name in names.items()}
    return tuple(str(by_name[name]) for name in captured.outputs)


def _constant(context: Context, node: Node, tensor: torch.Tensor, problems: list[str]) -> str | None:
    try:
        return literal(context.graph, tensor)
    except UnsupportedError as error:
        problems.append(f"{node.name}: {error}")
        return None


def literal(graph: Graph, tensor: torch.Tensor) -> str:
    """A tensor that the traced code made itself, as an op without inputs."""
    if tensor.numel() > MAX_CONSTANT:
        raise UnsupportedError(f"a constant of shape {tuple(tensor.shape)}; register it as a buffer")
    if tensor.is_floating_point():
        values: tuple[float, ...] = tuple(finite(v) for v in tensor.double().flatten().tolist())
    else:
        values = tuple(int(v) for v in tensor.flatten().tolist())
    dtype = known_dtype(torch.float32 if tensor.is_floating_point() else tensor.dtype)
    return graph.one("literal", values=values, shape=tuple(tensor.shape), dtype=dtype)


def finite(value: float) -> float:
    """Infinity as the largest float32: no softmax or comparison sees the difference, and JSON has none."""
    largest = torch.finfo(torch.float32).max
    return min(max(float(value), -largest), largest)


def known_dtype(dtype: torch.dtype) -> str:
    """Our name of a torch dtype that a value may have."""
    name = str(dtype).removeprefix("torch.")
    if name not in ("float32", "int64", "bool"):
        raise UnsupportedError(f"dtype {name}; use float32, int64 or bool")
    return name


def _import(
    context: Context,
    node: Node,
    names: Names,
    table: Mapping[str, Importer],
    problems: list[str],
) -> Result | Size | None:
    """The value of one node, or None where it, or something before it, is unsupported."""
    context.module, where = _origin(node)
    where = context.place or where
    context.graph.source = where
    target = str(node.target)
    if node.target is operator.getitem:
        parts = names.get(node.all_input_nodes[0])
        return parts[int(str(node.args[1]))] if isinstance(parts, tuple) else None
    if isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | torch.SymBool):
        return _size(context, node, names, problems)
    if target not in table:
        problems.append(f"{target} in {where}")
        return _stand_in(context, node, names)
    try:
        arguments = _arguments(node, names)
        return None if arguments is None else table[target](context, arguments)
    except (UnsupportedError, ValueError) as error:  # the latter from the shape rule of one of our ops
        problems.append(f"{target} in {where}: {error}")
        return _stand_in(context, node, names)


def _stand_in(context: Context, node: Node, names: Names) -> str | None:
    """A value of the shape that the node would have made, where we have such; there will be no export."""
    made = node.meta.get("val")
    if not isinstance(made, torch.Tensor) or str(made.dtype) not in (
        "torch.float32",
        "torch.int64",
        "torch.bool",
    ):
        return None
    shape = tuple(
        d if isinstance(d, int) else -max(1, int(d.node.hint or 0) // TRACE_BATCH) for d in made.shape
    )
    name = context.graph.declare(f"instead of {node.name}", Value(shape, known_dtype(made.dtype)))
    read = (names.get(n) for n in node.all_input_nodes)
    context.stand_ins[name] = tuple(n for n in read if isinstance(n, str))
    return name


def _size(context: Context, node: Node, names: Names, problems: list[str]) -> Size | None:
    """A size read off a shape, or a product of sizes of which one depends on the batch."""
    args = [names.get(a) if isinstance(a, Node) else a for a in node.args]
    if None in args:
        return None
    if node.target is torch.ops.aten.sym_size.int and isinstance(args[0], str):
        return Size(context.graph.shape(args[0])[int(str(args[1]))])
    if node.target is operator.mul:
        factors = [int(str(a.value if isinstance(a, Size) else a)) for a in args]
        if sum(f < 0 for f in factors) < 2:
            return Size(math.prod(factors))
    problems.append(f"{node.target} in {context.graph.source}: a size or a tensor's value as a number")
    return None


def _arguments(node: Node, names: Names) -> dict[str, Any] | None:
    """The node's arguments by their schema names, defaults filled in; None if an input is missing."""
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema.arguments
    values = {a.name: a.default_value if a.has_default_value() else None for a in schema}
    values |= {a.name: value for a, value in zip(schema, node.args, strict=False)}
    values |= node.kwargs
    if any(names.get(n) is None for n in node.all_input_nodes):
        return None
    return {
        key: [_known(v, names) for v in value] if isinstance(value, list | tuple) else _known(value, names)
        for key, value in values.items()
    }


def _known(value: Any, names: Names) -> Any:
    return names[value] if isinstance(value, Node) else value


def _origin(node: Node) -> tuple[str, str]:
    """(module path, "module path (file.py:line)") of the user's code that made the node."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    path = path.removeprefix("model.") if path != "model" else ""
    frames = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    # Only the file's own name: a bundle must not depend on where it was made.
    own = [(f, line) for f, line in frames if f"torch{PurePath('/')}nn" not in f]
    where = f"{PurePath(own[-1][0]).name}:{own[-1][1]}" if own else "unknown line"
    return path, f"{path or 'the model'} ({where})"
