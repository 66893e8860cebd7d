"""Optimal brain surgeon for one layer: what removing weights costs, and how the others make up for it.

The curvature of a layer is the second moment of its inputs, H = alpha I + mean(z z^T), the same for each of
its outputs: half of d^T H d is what a change d of an output's weights does to that output, squared and
averaged. Weights that were removed stay removed, so an output is judged by the inverse of H on what it has.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Curvature(NamedTuple):
    """H of one layer, (d, d) in double precision, or only its inverse where H itself was never held."""

    matrix: Tensor
    inverted: bool = False

    @property
    def nbytes(self) -> int:
        return self.matrix.numel() * self.matrix.element_size()


class Direct:
    """Sums z z^T as inputs come, (n, d) at a time; one matrix is held."""

    def __init__(self, alpha: float) -> None:
        self.alpha, self.count, self.total = alpha, 0, torch.zeros(1, 1, dtype=torch.float64)

    def add(self, inputs: Tensor) -> None:
        z = inputs.double()
        self.total = self.total.addmm_(z.T, z) if self.count else z.T @ z
        self.count += len(z)

    def done(self) -> Curvature:
        """Once: the sum becomes H where it lies, as wide layers leave no room for another."""
        self.total.div_(self.count).diagonal().add_(self.alpha)
        return Curvature(self.total)


class Recursive:
    """The inverse of H, corrected by every block of inputs (Woodbury); `count` of them will come in all."""

    def __init__(self, alpha: float, count: int) -> None:
        self.alpha, self.count, self.inverse = alpha, count, torch.empty(0, 0, dtype=torch.float64)

    def add(self, inputs: Tensor) -> None:
        z = inputs.double()
        if not self.inverse.numel():
            self.inverse = torch.eye(z.shape[1], dtype=z.dtype) / self.alpha
        zp = z @ self.inverse  # (n, d)
        inner = zp @ z.T
        inner.diagonal().add_(self.count)
        solved = torch.cholesky_solve(zp, torch.linalg.cholesky(inner))
        self.inverse.addmm_(zp.T, solved, alpha=-1)

    def done(self) -> Curvature:
        return Curvature(self.inverse, inverted=True)


def importance(curvature: Curvature, weight: Tensor, kept: Tensor) -> Tensor:
    """w^2 / (2 [H^-1]_ww) of every kept weight, 0 elsewhere; weights and mask are (outputs, d)."""
    inverse = _inverse(curvature)
    scores = torch.zeros_like(weight, dtype=torch.float64)
    # Before the first round all outputs keep the same, and one inverse does for all.
    rows, which = torch.unique(kept, dim=0, return_inverse=True)
    for number, row in enumerate(rows):
        own = (which == number).nonzero().flatten()
        left, spread = _spread(curvature, inverse, row)
        values = weight[own][:, left].double() ** 2 / (2 * spread)
        scores[own[:, None], left[None, :]] = values
    return scores


def compensated(curvature: Curvature, weight: Tensor, kept: Tensor) -> Tensor:
    """What remains, moved to where the outputs change least: exact for all removed weights at once."""
    inverse = _inverse(curvature)
    made = torch.zeros_like(weight)
    for output, (row, mask) in enumerate(zip(weight.double(), kept, strict=True)):
        left, gone = mask.nonzero().flatten(), (~mask).nonzero().flatten()
        change = _change(curvature, inverse, row, left, gone)
        made[output, left] = (row[left] + change).to(weight.dtype)
    return made


def _inverse(curvature: Curvature) -> Tensor:
    if curvature.inverted:
        return curvature.matrix
    return torch.cholesky_inverse(torch.linalg.cholesky(curvature.matrix))


def _smaller_inside(curvature: Curvature, left: Tensor, gone: Tensor) -> bool:
    """Whether to solve for what is left, which takes H, or for what is gone, which takes its inverse."""
    return not curvature.inverted and len(left) <= len(gone)


def _spread(curvature: Curvature, inverse: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The kept positions, and the diagonal of the inverse of H restricted to them."""
    left, gone = kept.nonzero().flatten(), (~kept).nonzero().flatten()
    if not len(left) or not len(gone):
        return left, inverse.diagonal()[left]
    if _smaller_inside(curvature, left, gone):
        factor = torch.linalg.cholesky(_block(curvature.matrix, left, left))
        return left, torch.cholesky_inverse(factor).diagonal()
    factor = torch.linalg.cholesky(_block(inverse, gone, gone))
    half = torch.linalg.solve_triangular(factor, _block(inverse, gone, left), upper=False)
    return left, inverse.diagonal()[left] - (half * half).sum(0)


def _change(curvature: Curvature, inverse: Tensor, row: Tensor, left: Tensor, gone: Tensor) -> Tensor:
    if not len(left) or not len(gone):
        return torch.zeros(len(left), dtype=torch.float64)
    if _smaller_inside(curvature, left, gone):
        factor = torch.linalg.cholesky(_block(curvature.matrix, left, left))
        pull = _block(curvature.matrix, left, gone) @ row[gone]
        return torch.cholesky_solve(pull[:, None], factor)[:, 0]
    factor = torch.linalg.cholesky(_block(inverse, gone, gone))
    return -_block(inverse, left, gone) @ torch.cholesky_solve(row[gone][:, None], factor)[:, 0]


def _block(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return matrix[rows][:, columns]
