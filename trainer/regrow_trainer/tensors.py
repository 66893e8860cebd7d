"""Dicts of named tensors: split, join, select under a mask, and the way to numpy and back.

Copies; never aliases a caller's array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Tensors = dict[str, Tensor]


def split(params: Mapping[str, Tensor], names: Sequence[str]) -> tuple[Tensors, Tensors]:
    """Two dicts: those named, in the order they are named, and the rest."""
    # A rule may go by the order of the layers, which a file does not keep.
    chosen = {name: params[name] for name in names}
    return chosen, {name: tensor for name, tensor in params.items() if name not in chosen}


def join(adaptable: Mapping[str, Tensor], frozen: Mapping[str, Tensor]) -> Tensors:
    """The inverse of `split`, up to order."""
    return {**frozen, **adaptable}


def keep(masks: Mapping[str, Tensor], new: Mapping[str, Tensor], old: Mapping[str, Tensor]) -> Tensors:
    """`new` where the mask says so, else `old`. A selection: with a product, inf x 0 would be NaN."""
    return {n: torch.where(masks[n], t, old[n]) if n in masks else t for n, t in new.items()}


def zero(masks: Mapping[str, Tensor], params: Mapping[str, Tensor]) -> Tensors:
    """Exactly 0 where the mask is False."""
    return {n: t.masked_fill(~masks[n], 0.0) if n in masks else t for n, t in params.items()}


def to_arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Numpy copies on the CPU."""
    return {name: np.array(t.detach().cpu().numpy(), copy=True) for name, t in tensors.items()}


def to_tensors(arrays: Mapping[str, NDArray[Any]]) -> Tensors:
    """Torch copies; read-only views of a file become writable memory."""
    return {name: torch.from_numpy(np.array(a, copy=True)) for name, a in arrays.items()}
