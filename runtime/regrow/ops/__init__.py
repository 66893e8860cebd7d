"""The op table of the program: one module per family, one row per module."""

from regrow.ops import (
    activation,
    arithmetic,
    avg_pool,
    batch_norm,
    conv,
    elementary,
    fill,
    linear,
    logic,
    loss,
    normalize,
    order,
    pieces,
    pool,
    shape,
    softmax,
)
from regrow.ops.schema import OpSchema

MODULES = (
    activation,
    arithmetic,
    avg_pool,
    batch_norm,
    conv,
    elementary,
    fill,
    linear,
    logic,
    loss,
    normalize,
    order,
    pieces,
    pool,
    shape,
    softmax,
)
OPS: dict[str, OpSchema] = {kind: schema for module in MODULES for kind, schema in module.OPS.items()}
