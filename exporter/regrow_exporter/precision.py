"""Choose how the values of each tensor are stored, and round a module to that before anything is proven."""

import math
from collections.abc import Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from regrow.values import MAX_SCALE, Floats, Values, rounded, stored_bytes

PRECISIONS: tuple[Values, ...] = ("fp32", "fp16", "int8")
# The largest values that fit.
_HALF_MAX = 65504.0
_LEVELS_MAX = 127 * MAX_SCALE


def settle(
    module: nn.Module, kept: Mapping[str, torch.Tensor], precision: Values, exact: Collection[str] = ()
) -> dict[str, Values]:
    """Round the module's parameters in place to what is stored of them; returns how each is stored.

    Those that are `exact` stay fp32 whatever the precision.
    """
    chosen: dict[str, Values] = {}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            w = parameter.detach().numpy()
            count = int(kept[name].sum()) if name in kept else w.size
            chosen[name] = choose(w, count, "fp32" if name in exact else precision)
            if chosen[name] != "fp32":
                parameter.copy_(torch.from_numpy(rounded(w, chosen[name])))
    return chosen


def stored(
    tensors: Mapping[str, NDArray[np.float64]], kept: Mapping[str, NDArray[np.bool_]], precision: Values
) -> tuple[dict[str, Floats], dict[str, Values]]:
    """Tensors that the exporter computed, as a device will read them, and how each is stored."""
    single = {name: array.astype(np.float32) for name, array in tensors.items()}
    counts = {name: int(kept[name].sum()) if name in kept else w.size for name, w in single.items()}
    chosen = {name: choose(w, counts[name], precision) for name, w in single.items()}
    return {n: w if chosen[n] == "fp32" else rounded(w, chosen[n]) for n, w in single.items()}, chosen


def choose(w: Floats, kept: int, precision: Values) -> Values:
    """`precision`; fp16 where the scales of int8 would cost more, as in a bias; fp32 where nothing fits."""
    largest = float(np.abs(w).max(initial=0))
    limits: dict[Values, float] = {"fp16": _HALF_MAX, "int8": _LEVELS_MAX if w.ndim else -1}
    # Of equal size the more precise one, which comes first.
    wanted = limits if precision == "int8" else {precision: limits.get(precision, math.inf)}
    sizes = {v: stored_bytes(w.shape, kept, v) for v, limit in wanted.items() if largest <= limit}
    return min(sizes, key=sizes.__getitem__, default="fp32")
