"""What several uses of one value contribute to its gradient, added up in as few ops as possible."""

from collections.abc import Sequence

from regrow.program import Op
from regrow_exporter.graph import Graph

# What was joined already: weights and bias of a layer share the gradients they read.
Joined = dict[tuple[str, ...], str]


def total(graph: Graph, parts: Sequence[str], joined: Joined) -> str:
    """The sum. A weight used at every step of a sequence gets one product over all of them."""
    rest = list(parts)
    for rule in (_over_rows, _row_sum):
        several = [name for name in rest if rule(graph, graph.makers[name])]
        if len(several) > 1:
            ops = [graph.makers[name] for name in several]
            inputs = [_join(graph, joined, column) for column in zip(*(op.inputs for op in ops), strict=True)]
            rest = [name for name in rest if name not in several]
            rest.append(graph.one(ops[0].kind, *inputs, **ops[0].attrs))
    whole = rest[0]
    for name in rest[1:]:
        whole = graph.one("add", whole, name)
    return whole


def _over_rows(graph: Graph, op: Op) -> bool:
    """A product of two values over their samples: the gradient of a weight."""
    attrs = op.attrs
    return (
        op.kind == "matmul" and bool(attrs["transpose_a"] and not attrs["transpose_b"]) and _rows(graph, op)
    )


def _row_sum(graph: Graph, op: Op) -> bool:
    """A sum over samples: the gradient of a bias."""
    flat = op.kind == "reduce_sum" and op.attrs["axes"] == (0,) and not op.attrs["keepdims"]
    return flat and _rows(graph, op)


def _rows(graph: Graph, op: Op) -> bool:
    """Whether the inputs are matrices whose rows depend on the batch."""
    return all(len(graph.shape(name)) == 2 and graph.shape(name)[0] < 0 for name in op.inputs)


def _join(graph: Graph, joined: Joined, column: tuple[str, ...]) -> str:
    if column not in joined:
        joined[column] = graph.one("concat", *column, axis=0)
    return joined[column]
