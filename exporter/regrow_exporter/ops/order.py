"""The order of numbers: import and ONNX."""

from collections.abc import Mapping, Sequence

from regrow.errors import UnsupportedError
from regrow.ops.schema import flag
from regrow.program import Op, Value
from regrow_exporter.differentiate import Vjp
from regrow_exporter.importer import Arguments, Context
from regrow_exporter.onnx_builder import OnnxBuilder, i64


def import_argsort(context: Context, a: Arguments) -> str:
    g, value = context.graph, str(a["self"])
    shape = g.shape(value)
    if not shape or a["dim"] % len(shape) != len(shape) - 1:
        raise UnsupportedError("sorting along another axis than the last")
    if shape[-1] < 0:
        raise UnsupportedError("sorting the batch; samples are adapted to together")
    return g.one("argsort", value, descending=bool(a["descending"]))


def emit_argsort(b: OnnxBuilder, ins: Sequence[str], op: Op, values: Mapping[str, Value]) -> list[str]:
    count = values[op.inputs[0]].shape[-1]
    # ONNX says of TopK that of equal values the one with the lower index comes first.
    return [b.multi("TopK", [ins[0], i64(count)], 2, largest=flag(op.attrs, "descending"))[1]]


IMPORT = {"aten.argsort.default": import_argsort, "aten.argsort.stable": import_argsort}
VJP: dict[str, Vjp] = {}
ONNX = {"argsort": emit_argsort}
