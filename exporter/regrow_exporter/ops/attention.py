"""Scaled dot-product attention, imported as the products and the softmax it is made of."""

import math
from typing import Any

import torch

from regrow.errors import UnsupportedError
from regrow_exporter.differentiate import Vjp
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Importer, literal
from regrow_exporter.ops.linear import turned
from regrow_exporter.ops.logic import as_dtype

# Far below any score, yet finite: a row that is masked throughout stays a number.
_OUT = -1e30


def import_attention(context: Context, a: Arguments) -> str:
    """query, key, value:(..., tokens, width)."""
    if a["dropout_p"] or a["enable_gqa"]:
        raise UnsupportedError("dropout or grouped queries; set dropout to 0, repeat keys and values")
    g, query = context.graph, a["query"]
    scale = 1 / math.sqrt(g.shape(query)[-1]) if a["scale"] is None else float(a["scale"])
    # Scaled before the product: the queries are fewer numbers than the scores.
    scores = g.one("batch_matmul", g.one("mul", query, g.constant(scale)), turned(g, a["key"]))
    scores = _masked(g, scores, a)
    return g.one("batch_matmul", g.one("softmax", scores, axis=len(g.shape(scores)) - 1), a["value"])


def _masked(g: Graph, scores: str, a: Arguments) -> str:
    mask = a["attn_mask"]
    if a["is_causal"]:
        mask = literal(g, torch.ones(g.shape(scores)[-2:], dtype=torch.bool).tril())
    if not mask:
        return scores
    if g.values[mask].dtype == "float32":
        return g.one("add", scores, mask)
    return g.one("select", as_dtype(g, mask, "bool"), scores, g.constant(_OUT))


IMPORT: dict[str, Importer] = {"aten.scaled_dot_product_attention.default": import_attention}
VJP: dict[str, Vjp] = {}
ONNX: dict[str, Any] = {}
