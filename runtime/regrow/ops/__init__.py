"""The op table of the program: one module per family, one row per module."""

from regrow.ops import activation, arithmetic, batch_norm, conv, linear, loss, pool, shape
from regrow.ops.schema import OpSchema

MODULES = (activation, arithmetic, batch_norm, conv, linear, loss, pool, shape)
OPS: dict[str, OpSchema] = {kind: schema for module in MODULES for kind, schema in module.OPS.items()}
