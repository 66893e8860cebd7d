"""Filled tensors, literal tensors, expansion: import, gradients, ONNX."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from regrow.errors import UnsupportedError
from regrow.ops.schema import ints, number
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Importer, Size, finite, known_dtype, literal
from regrow_exporter.onnx_builder import OnnxBuilder, i64
from regrow_exporter.ops.arithmetic import narrow


def filled(g: Graph, shape: Sequence[int], value: float, dtype: str = "float32") -> str:
    """A value of this shape, the same number everywhere."""
    return g.one("full", *batch(g, shape), shape=tuple(shape), value=finite(value), dtype=dtype)


def batch(g: Graph, shape: Sequence[int]) -> list[str]:
    """The input that tells how many samples there are, where the shape depends on it."""
    tells = (n for n, v in g.values.items() if v.role == "input" and v.shape[:1] == (-1,))
    return [next(tells)] if any(d < 0 for d in shape) else []


def _full(value: float | None) -> Importer:
    """`full` and its kin: the shape given or taken from another tensor."""

    def run(context: Context, a: Arguments) -> str:
        g = context.graph
        fill = a["fill_value"] if value is None else value
        shape = g.shape(a["self"]) if "size" not in a else [_concrete(d) for d in a["size"]]
        if a.get("dtype"):
            return filled(g, shape, fill, known_dtype(a["dtype"]))
        if "self" in a:
            return filled(g, shape, fill, g.values[a["self"]].dtype)
        return filled(g, shape, fill, {bool: "bool", int: "int64", float: "float32"}[type(fill)])

    return run


def _concrete(dim: int | Size) -> int:
    return dim.value if isinstance(dim, Size) else int(dim)


def import_arange(context: Context, a: Arguments) -> str:
    bounds = [a.get("start", 0), a["end"], a.get("step", 1)]
    if any(isinstance(v, Size) for v in bounds):
        raise UnsupportedError("one number for every sample")
    return literal(context.graph, torch.arange(*bounds, dtype=a["dtype"]))


def import_expand(context: Context, a: Arguments) -> str:
    g, source = context.graph, context.graph.shape(a["self"])
    if "other" in a:
        shape = g.shape(a["other"])
    else:
        padded = (1,) * (len(a["size"]) - len(source)) + source
        # torch's -1 keeps a size; ours, the batch, comes as a Size.
        kept = (s if d == -1 else d for d, s in zip(a["size"], padded, strict=True))
        shape = tuple(_concrete(d) for d in kept)
    return a["self"] if shape == source else g.one("expand", a["self"], *batch(g, shape), shape=shape)


def import_repeat(context: Context, a: Arguments) -> str:
    """Copies along an axis; a single row repeated for every sample is an expansion."""
    g, value = context.graph, str(a["self"])
    counts = [_concrete(d) for d in a["repeats"]]
    shape = (1,) * (len(counts) - len(g.shape(value))) + g.shape(value)
    if shape != g.shape(value):
        value = g.one("reshape", value, shape=shape)
    for axis, (count, size) in enumerate(zip(counts, shape, strict=True)):
        if (count < 0 and size != 1) or (size < 0 and count != 1):
            raise UnsupportedError("repeating a batch, or more than one row for every sample")
        if size == 1 and count != 1:
            target = (*g.shape(value)[:axis], count, *shape[axis + 1 :])
            value = g.one("expand", value, *batch(g, target), shape=target)
        elif count != 1:
            value = g.one("concat", *[value] * count, axis=axis)
    return value


def vjp_expand(g: Graph, op: Op, dys: Sequence[str], need: Sequence[bool]) -> list[str]:
    return [narrow(g, dys[0], op.inputs[0]), *[""] * (len(op.inputs) - 1)]


def _dims(b: OnnxBuilder, op: Op, batch: Sequence[str]) -> str | NDArray[np.int64]:
    shape = ints(op.attrs, "shape")
    if min(shape, default=0) >= 0:
        return i64(*shape)
    rows = b.node("Shape", batch[0], start=0, end=1)
    parts: list[str | NDArray[Any]] = [i64(d) if d >= 0 else b.node("Mul", rows, i64(-d)) for d in shape]
    return b.node("Concat", *parts, axis=0)


def emit_full(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    value = np.array([number(op.attrs, "value")], str(op.attrs["dtype"]))
    if not op.attrs["shape"]:
        return [b.const(value.reshape(()))]
    return [b.node("ConstantOfShape", _dims(b, op, ins), value=numpy_helper.from_array(value))]


def emit_literal(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.const(np.array(op.attrs["values"], str(op.attrs["dtype"])).reshape(ints(op.attrs, "shape")))]


def emit_expand(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Expand", ins[0], _dims(b, op, ins[1:]))]


IMPORT: dict[str, Importer] = {
    **{f"aten.{name}.default": _full(0.0) for name in ("zeros", "zeros_like", "new_zeros")},
    **{f"aten.{name}.default": _full(1.0) for name in ("ones", "ones_like", "new_ones")},
    **{f"aten.{name}.default": _full(None) for name in ("full", "full_like", "new_full")},
    "aten.arange.default": import_arange,
    "aten.arange.start": import_arange,
    "aten.arange.start_step": import_arange,
    "aten.expand.default": import_expand,
    "aten.expand_as.default": import_expand,
    "aten.repeat.default": import_repeat,
}
VJP = {"expand": vjp_expand}
ONNX = {"full": emit_full, "literal": emit_literal, "expand": emit_expand}
