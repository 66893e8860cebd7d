"""The exporter's side of the op table: how an op is imported, differentiated, and written as ONNX."""

from collections.abc import Callable, Mapping, Sequence

from regrow.program import Op, Value
from regrow_exporter.differentiate import Vjp
from regrow_exporter.importer import Importer
from regrow_exporter.onnx_builder import OnnxBuilder
from regrow_exporter.ops import (
    activation,
    arithmetic,
    attention,
    avg_pool,
    batch_norm,
    composite,
    conv,
    elementary,
    fill,
    linear,
    logic,
    loss,
    normalize,
    order,
    padding,
    pieces,
    pool,
    recurrent,
    shape,
    softmax,
)

Emitter = Callable[[OnnxBuilder, Sequence[str], Op, Mapping[str, Value]], list[str]]

MODULES = (
    activation,
    arithmetic,
    attention,
    avg_pool,
    batch_norm,
    composite,
    conv,
    elementary,
    fill,
    linear,
    logic,
    loss,
    normalize,
    order,
    padding,
    pieces,
    pool,
    recurrent,
    shape,
    softmax,
)
IMPORT: dict[str, Importer] = {}
VJP: dict[str, Vjp] = {}
ONNX: dict[str, Emitter] = {}
for _module in MODULES:
    IMPORT.update(_module.IMPORT)
    VJP.update(_module.VJP)
    ONNX.update(_module.ONNX)
