"""Batch norm with the statistics of an episode; no running buffers.

Inside `support_rows(n)` the first n rows of the batch are the support set, and every row, query or support,
is normalised by their mean and (biased) variance. Without it a batch is normalised by its own statistics, as
one `batch_norm` that `torch.export` keeps whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from regrow.errors import UnsupportedError

_ROWS: ContextVar[int | None] = ContextVar("support_rows", default=None)


@contextmanager
def support_rows(rows: int | None) -> Iterator[None]:
    """Say that the first `rows` rows of what is computed inside are the support set."""
    token = _ROWS.set(rows)
    try:
        yield
    finally:
        _ROWS.reset(token)


class BatchNorm(nn.Module):
    """Normalise channel (second) dimension over all others; `weight` and `bias` are ordinary parameters."""

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        rows = _ROWS.get()
        if rows is None or rows == len(x):
            return batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        return _by_first(x, rows, self.weight, self.bias, self.eps)


def _by_first(x: Tensor, rows: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    dims = (0, *range(2, x.dim()))
    shape = (-1, *(1,) * (x.dim() - 2))
    given, x = x.dtype, x.float() if x.dtype == torch.bfloat16 else x
    support = x[:rows]
    mean = support.mean(dims)
    centred = support - mean.view(shape)
    # Two plain reductions: torch.var_mean is an order of magnitude slower on a CPU.
    scale = weight * torch.rsqrt((centred * centred).mean(dims) + eps)
    shift = bias - mean * scale
    return (x * scale.view(shape) + shift.view(shape)).to(given)


def adopt(module: nn.Module) -> nn.Module:
    """Replace torch's own batch norm layers by ours, in place and under their names.

    Layers with running statistics are refused: those belong to no episode.
    """
    tracked = [n for n, m in module.named_modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if tracked:
        raise UnsupportedError(
            f"backbone: running statistics in {', '.join(tracked)}, expected statistics of the episode; "
            "build them with track_running_stats=False or use regrow_trainer.norm.BatchNorm"
        )
    for name, child in list(module.named_modules()):
        if isinstance(child, _BatchNorm):
            if not child.affine:
                raise UnsupportedError(f"backbone: {name} has affine=False, expected True; use affine=True")
            ours = BatchNorm(child.num_features, child.eps)
            ours.weight, ours.bias = child.weight, child.bias
            module.set_submodule(name, ours)
    return module
