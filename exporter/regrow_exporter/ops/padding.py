"""Borders of one number, joined on: only an import, for concat has all the rest."""

from collections.abc import Callable, Mapping, Sequence

from regrow.errors import UnsupportedError
from regrow.program import Op, Value
from regrow_exporter.differentiate import Vjp
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Importer
from regrow_exporter.onnx_builder import OnnxBuilder
from regrow_exporter.ops.fill import filled


def import_pad(context: Context, a: Arguments) -> str:
    g, value, sizes = context.graph, str(a["self"]), list(a["pad"])
    mode = a.get("mode", "constant")
    if mode != "constant" or any(not isinstance(s, int) or s < 0 for s in sizes):
        raise UnsupportedError(f"pad={sizes}, mode={mode!r}; use mode='constant' and slices to take away")
    rank = len(g.shape(value))
    # torch lists the last dimension first.
    for i, (before, after) in enumerate(zip(sizes[::2], sizes[1::2], strict=True)):
        value = bordered(g, value, rank - 1 - i, before, after, float(a["value"] or 0))
    return value


def bordered(g: Graph, value: str, axis: int, before: int, after: int, filling: float = 0.0) -> str:
    """`value` with so many more elements on either side of one axis."""
    shape = g.shape(value)
    if shape[axis] < 0 and before + after:
        raise UnsupportedError("padding the batch; samples are adapted to together")
    sides = [
        [filled(g, (*shape[:axis], size, *shape[axis + 1 :]), filling)] if size else []
        for size in (before, after)
    ]
    parts = [*sides[0], value, *sides[1]]
    return g.one("concat", *parts, axis=axis) if len(parts) > 1 else value


IMPORT: dict[str, Importer] = {
    "aten.pad.default": import_pad,
    "aten.constant_pad_nd.default": import_pad,
}
VJP: dict[str, Vjp] = {}
ONNX: dict[str, Callable[[OnnxBuilder, Sequence[str], Op, Mapping[str, Value]], list[str]]] = {}
