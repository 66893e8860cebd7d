"""A metric head: what enters the last layer is scored by a rule that is fitted on the device, not stepped.

`attach` puts it into the network, where what the rule carries are ordinary parameters; `import_fit` captures
`rule.fit` as the one step of the adaptation; `keep_statistics` makes fits that follow each other comparable.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from regrow.errors import UnsupportedError
from regrow.program import Op, Value
from regrow.select import select
from regrow_exporter.capture import TRACE_BATCH, capture_function, entering, tried
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Context, Importer, import_nodes
from regrow_exporter.rule import MetricRule, place_of
from regrow_exporter.ties import named_shapes

HEAD = "@head"
FITTED = "state:fitted"


class Head(nn.Module):
    """Scores features by a metric rule."""

    def __init__(self, rule: MetricRule, ways: int, width: int) -> None:
        super().__init__()
        self.rule = rule
        carried = rule.init(ways, width)
        for name, tensor in carried.items():
            self.register_parameter(name, nn.Parameter(tensor))
        self.names = tuple(carried)

    def carried(self) -> dict[str, torch.Tensor]:
        """What the rule carries, by its own names."""
        return {name: getattr(self, name) for name in self.names}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rule.score(self.carried(), x.flatten(1))


def attach(
    module: nn.Module, example: torch.Tensor, rule: MetricRule, head: str | None, ways: int | None
) -> str:
    """Put the head in place of a layer, or behind a network that ends in features; returns where it is."""
    if head is None:
        return _append(module, example, rule, ways)
    path = _layer(module, head)
    features, outputs = _around(module, path, example)
    module.set_submodule(path, _head(rule, outputs if ways is None else ways, features))
    return path


def _head(rule: MetricRule, ways: int, width: int) -> Head:
    if ways < 2:
        raise UnsupportedError(
            f"export: a metric head for {ways} class, expected room for 2 or more; give ways (--ways N)"
        )
    return Head(rule, ways, width)


def _append(module: nn.Module, example: torch.Tensor, rule: MetricRule, ways: int | None) -> str:
    if ways is None:
        raise UnsupportedError(
            "export: a network that ends in features does not say how many classes there is room for; "
            "give ways (--ways N)"
        )
    path = "metric" if hasattr(module, "head") else "head"
    width = tried(module, example).flatten(1).shape[1]
    module.add_module(path, _head(rule, ways, width))
    module.register_forward_hook(lambda network, _, features: network.get_submodule(path)(features))
    return path


def _layer(module: nn.Module, head: str) -> str:
    path = head
    if head == HEAD:
        path = select(named_shapes(module), [HEAD])[0].rpartition(".")[0]
    if path not in dict(module.named_modules()) or not path:
        raise UnsupportedError(
            f"export: head={head!r}: no layer within the network has this name; expected the dotted name of "
            "the one that a metric head replaces, or none if the network's output already is the features"
        )
    return path


def _around(module: nn.Module, path: str, example: torch.Tensor) -> tuple[int, int]:
    """How wide the features are that enter a layer, and how many outputs it has."""
    made: list[torch.Tensor] = []
    handle = module.get_submodule(path).register_forward_hook(lambda _, __, out: made.append(out))
    try:
        with entering(module, path) as seen:
            output = tried(module, example)
    finally:
        handle.remove()
    if len(made) != 1 or output is not made[0] or output.ndim != 2:
        raise UnsupportedError(
            f"export: {path} does not end the network: something follows it, or it gives no (samples, "
            "classes); name the layer a metric head replaces (--head), or none if the output is the features"
        )
    return seen[0].shape[1], output.shape[1]


class _Fit(nn.Module):
    """`fit` over a flat list of tensors, since an exported signature is positional."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.rule, self.names = head.rule, head.names

    def forward(
        self, features: torch.Tensor, y: torch.Tensor, carried: list[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        new = fitted(self.rule, dict(zip(self.names, carried, strict=True)), features, y)
        return tuple(new[name] for name in self.names)


def fitted(
    rule: MetricRule, params: Mapping[str, torch.Tensor], features: torch.Tensor, y: torch.Tensor
) -> dict[str, torch.Tensor]:
    """What the rule carries after features with class numbers."""
    ways = rule.score(params, features).shape[1]
    hot = (y[:, None] == torch.arange(ways)).to(features.dtype)
    return dict(rule.fit(params, features, hot))


def import_fit(
    graph: Graph, head: Head, path: str, features: str, table: Mapping[str, Importer]
) -> dict[str, str]:
    """Append one fit; returns the new value of every tensor the head carries."""
    carried = head.carried()
    rows = torch.zeros(TRACE_BATCH, *graph.shape(features)[1:])
    y = torch.arange(TRACE_BATCH) % 2
    likes = [torch.zeros_like(t.detach()) for t in carried.values()]
    captured = capture_function(_Fit(head), (rows, y, likes), batched=2)
    names = [features, "y", *(f"{path}.{name}" for name in carried)]
    values = {node: names[int(at)] for node, (kind, at) in captured.placeholders.items() if kind == "input"}
    outputs = import_nodes(Context(graph, place=place_of(head.rule.fit)), captured, values, table)
    return dict(zip(names[2:], outputs, strict=True))


def keep_statistics(graph: Graph, statistics: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Normalise by the statistics of the first fit from then on: one class's own would hide what it is.

    Means of features are only comparable where all were normalised alike. Rewrites the forward pass so far;
    returns the statistics in use as `stat:` and as `state:` values.
    """
    if not statistics:
        return {}, {}
    kept = {value: name.removeprefix("stat:") for name, value in statistics.items()}
    before = graph.declare(FITTED, Value((), "bool", "state"))
    used: dict[str, str] = {}
    ops: list[Op] = []
    for op in list(graph.ops):
        if op.kind != "batch_norm" or op.outputs[1] not in kept:
            ops.append(op)
            continue
        begin = len(graph.ops)
        graph.source = op.source
        for value in op.outputs[1:]:
            state = graph.declare(f"state:{kept[value]}", Value(graph.shape(value), role="state"))
            used[kept[value]] = graph.one("select", before, state, value)
        own = graph.declare(f"{op.outputs[0]}.own", Value(graph.shape(op.outputs[0])))
        ops.append(replace(op, outputs=(own, *op.outputs[1:])))
        ops += graph.ops[begin:]
        frozen = (*op.inputs, *(used[kept[value]] for value in op.outputs[1:]))
        ops.append(Op("batch_norm_frozen", frozen, op.outputs[:1], op.attrs, op.source))
    graph.ops[:] = ops
    return {f"stat:{n}": v for n, v in used.items()}, {f"state:{n}": v for n, v in used.items()}
