"""Torch ops that are nothing but several of ours; rules use them to blend and to bound."""

from typing import Any

import torch

from regrow.errors import UnsupportedError
from regrow_exporter.differentiate import Vjp
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Importer, literal
from regrow_exporter.ops.logic import as_dtype, promoted


def _pair(g: Graph, kind: str, left: Any, right: Any) -> str:
    return g.one(kind, *promoted(g, [left, right]))


def import_lerp(context: Context, a: Arguments) -> str:
    """self + weight * (end - self)"""
    g = context.graph
    return g.one("add", a["self"], _pair(g, "mul", a["weight"], g.one("sub", a["end"], a["self"])))


def _add_scaled(kind: str) -> Importer:
    """self + value * (tensor1 <kind> tensor2)"""

    def run(context: Context, a: Arguments) -> str:
        g = context.graph
        part = g.one(kind, a["tensor1"], a["tensor2"])
        return g.one("add", a["self"], part if a["value"] == 1 else _pair(g, "mul", part, float(a["value"])))

    return run


def import_maximum(context: Context, a: Arguments) -> str:
    return _chosen(context.graph, promoted(context.graph, [a["self"], a["other"]]), larger=True)


def import_minimum(context: Context, a: Arguments) -> str:
    return _chosen(context.graph, promoted(context.graph, [a["self"], a["other"]]), larger=False)


def _chosen(g: Graph, pair: list[str], *, larger: bool) -> str:
    return g.one("select", g.one("greater", *pair), *(pair if larger else pair[::-1]))


def clamped_count(g: Graph, value: str, low: Any, high: Any) -> str:
    """A whole number within bounds, either of which may be missing."""
    for bound, larger in ((low, True), (high, False)):
        if bound is not None:
            value = _chosen(g, promoted(g, [value, bound]), larger=larger)
    return value


def import_norm(context: Context, a: Arguments) -> str:
    """The Euclidean norm, of all or over some dimensions."""
    g, x = context.graph, a["self"]
    if a["ord"] != 2 or a["dtype"] is not None:
        raise UnsupportedError("a norm other than the Euclidean")
    rank = len(g.shape(x))
    axes = tuple(range(rank)) if a["dim"] is None else tuple(sorted(d % rank for d in a["dim"]))
    total = g.one("reduce_sum", g.one("mul", x, x), axes=axes, keepdims=bool(a["keepdim"]))
    return g.one("sqrt", total)


def import_masked_fill(context: Context, a: Arguments) -> str:
    g = context.graph
    return g.one("select", as_dtype(g, a["mask"], "bool"), *promoted(g, [a["value"], a["self"]], "bool"))


def _triangle(upper: bool) -> Importer:
    """A matrix, or a batch of them, with zeros on the other side of a diagonal."""

    def run(context: Context, a: Arguments) -> str:
        g = context.graph
        ones = torch.ones(g.shape(a["self"])[-2:], dtype=torch.bool)
        kept = literal(g, ones.triu(a["diagonal"]) if upper else ones.tril(a["diagonal"]))
        return g.one("select", kept, *promoted(g, [a["self"], False], "bool"))

    return run


IMPORT: dict[str, Importer] = {
    "aten.lerp.Scalar": import_lerp,
    "aten.lerp.Tensor": import_lerp,
    "aten.addcmul.default": _add_scaled("mul"),
    "aten.addcdiv.default": _add_scaled("div"),
    "aten.maximum.default": import_maximum,
    "aten.max.other": import_maximum,
    "aten.minimum.default": import_minimum,
    "aten.min.other": import_minimum,
    "aten.linalg_vector_norm.default": import_norm,
    "aten.masked_fill.Scalar": import_masked_fill,
    "aten.masked_fill.Tensor": import_masked_fill,
    "aten.tril.default": _triangle(upper=False),
    "aten.triu.default": _triangle(upper=True),
}
VJP: dict[str, Vjp] = {}
ONNX: dict[str, Any] = {}
