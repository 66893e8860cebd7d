"""Comparisons, truth values, dtypes, whole-number arithmetic: import, ONNX, and torch's type promotion."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from regrow.errors import UnsupportedError
from regrow.program import Op, Value
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Importer, finite, known_dtype
from regrow_exporter.onnx_builder import ELEMENT, OnnxBuilder

Emitter = Callable[[OnnxBuilder, Sequence[str], Op, Mapping[str, Value]], list[str]]

# In the order in which torch promotes them.
_DTYPES = ("bool", "int64", "float32")


def promoted(g: Graph, operands: Sequence[Any], at_least: str = "int64") -> list[str]:
    """Values and Python numbers as values of one dtype, the highest among them."""
    found = [g.values[v].dtype if isinstance(v, str) else _of_number(v) for v in operands]
    dtype = max((*found, at_least), key=_DTYPES.index)
    return [as_dtype(g, v, dtype) for v in operands]


def as_dtype(g: Graph, operand: Any, dtype: str) -> str:
    """A value or a Python number as a value of this dtype."""
    if isinstance(operand, str):
        return operand if g.values[operand].dtype == dtype else g.one("cast", operand, dtype=dtype)
    if dtype == "float32":
        return g.constant(finite(operand))
    return g.one("full", shape=(), value=int(operand), dtype=dtype)


def _of_number(value: Any) -> str:
    if not isinstance(value, bool | int | float):
        raise UnsupportedError("a size that depends on the batch, used as a number")
    return {bool: "bool", int: "int64", float: "float32"}[type(value)]


def import_to(context: Context, a: Arguments) -> str:
    """`.to` and its kin; only the dtype matters here."""
    wanted = context.graph.values[a["other"]].dtype if a.get("other") else None
    wanted = known_dtype(a["dtype"]) if a.get("dtype") else wanted
    return as_dtype(context.graph, a["self"], wanted) if wanted else str(a["self"])


def import_assertion(context: Context, a: Arguments) -> str:
    """What torch checks while it traces needs no op, and nobody reads it."""
    return ""


def _binary(kind: str, *, swap: bool = False, negate: bool = False, at_least: str = "int64") -> Importer:
    """Two promoted operands, perhaps in the other order, perhaps negated afterwards."""

    def run(context: Context, a: Arguments) -> str:
        g = context.graph
        pair = promoted(g, [a["self"], a["other"]], at_least)
        made = g.one(kind, *(pair[::-1] if swap else pair))
        return g.one("logical_not", made) if negate else made

    return run


def _logical(kind: str) -> Importer:
    def run(context: Context, a: Arguments) -> str:
        g = context.graph
        return g.one(kind, *(as_dtype(g, a[key], "bool") for key in ("self", "other") if key in a))

    return run


def _bitwise(kind: str) -> Importer:
    def run(context: Context, a: Arguments) -> str:
        if any(context.graph.values[a[key]].dtype != "bool" for key in ("self", "other") if key in a):
            raise UnsupportedError("bits of whole numbers; only truth values")
        return str(_logical(kind)(context, a))

    return run


def _plain(kind: str) -> Emitter:
    return lambda b, ins, op, values: [b.node(kind, *ins)]


def emit_cast(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    return [b.node("Cast", ins[0], to=ELEMENT[str(op.attrs["dtype"])])]


def emit_floor_divide(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    # Div drops the fraction towards zero; without the remainder there is none to drop.
    return [b.node("Div", b.node("Sub", ins[0], b.node("Mod", *ins)), ins[1])]


_COMPARISONS: dict[str, Importer] = {
    "gt": _binary("greater"),
    "lt": _binary("greater", swap=True),
    "ge": _binary("greater_equal"),
    "le": _binary("greater_equal", swap=True),
    "eq": _binary("equal"),
    "ne": _binary("equal", negate=True),
    "remainder": _binary("remainder"),
}
IMPORT: dict[str, Importer] = {
    **{f"aten.{name}.{form}": run for name, run in _COMPARISONS.items() for form in ("Tensor", "Scalar")},
    "aten.floor_divide.default": _binary("floor_divide"),
    "aten.logical_and.default": _logical("logical_and"),
    "aten.logical_or.default": _logical("logical_or"),
    "aten.logical_not.default": _logical("logical_not"),
    "aten.__and__.Tensor": _bitwise("logical_and"),
    "aten.__or__.Tensor": _bitwise("logical_or"),
    "aten.bitwise_and.Tensor": _bitwise("logical_and"),
    "aten.bitwise_or.Tensor": _bitwise("logical_or"),
    "aten.bitwise_not.default": _bitwise("logical_not"),
    **{f"aten.to.{form}": import_to for form in ("dtype", "device", "other", "dtype_layout")},
    "aten._to_copy.default": import_to,
    "aten.type_as.default": import_to,
    "aten._assert_tensor_metadata.default": import_assertion,
}
VJP = {"cast": lambda g, op, dys, need: [""]}
ONNX: dict[str, Emitter] = {
    "cast": emit_cast,
    "greater": _plain("Greater"),
    "greater_equal": _plain("GreaterOrEqual"),
    "equal": _plain("Equal"),
    "logical_and": _plain("And"),
    "logical_or": _plain("Or"),
    "logical_not": _plain("Not"),
    "floor_divide": emit_floor_divide,
    "remainder": _plain("Mod"),
}
