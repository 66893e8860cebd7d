"""The outer optimisers as pure functions: an interrupted step leaves the state before it whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from regrow_trainer.tensors import Tensors

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Moments:
    """Running means of gradients and of their squares, and how many steps they hold."""

    first: Tensors
    second: Tensors
    step: int

    @staticmethod
    def zeros(params: Tensors) -> Moments:
        """Before the first step."""
        zeros = {name: torch.zeros_like(p) for name, p in params.items()}
        return Moments(zeros, dict(zeros), 0)


def adam(params: Tensors, grads: Tensors, moments: Moments, lr: float) -> tuple[Tensors, Moments]:
    """One step (Kingma and Ba 2015, algorithm 1)."""
    step = moments.step + 1
    first = {n: BETA1 * m + (1 - BETA1) * grads[n] for n, m in moments.first.items()}
    second = {n: BETA2 * v + (1 - BETA2) * grads[n] * grads[n] for n, v in moments.second.items()}
    rate = lr / (1 - BETA1**step)
    scale = (1 - BETA2**step) ** -0.5
    new = {n: p - rate * first[n] / (second[n].sqrt() * scale + EPSILON) for n, p in params.items()}
    return new, Moments(first, second, step)


def sgd(params: Tensors, grads: Tensors, moments: Moments, lr: float) -> tuple[Tensors, Moments]:
    """One plain step: what Reptile, whose gradient is a difference of weights, is defined with."""
    return {n: p - lr * grads[n] for n, p in params.items()}, moments


def scaled(grads: Tensors, scale: float) -> Tensors:
    """All of them times a number."""
    return {name: g * scale for name, g in grads.items()}


OPTIMISERS = {"adam": adam, "sgd": sgd}
