"""The adaptation in eager torch, as one would write it for speed: the measure of what we export."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

Arrays = Mapping[str, NDArray[Any]]


class Eager:
    """Autograd over the adaptable parameters only, updates in place, nothing copied but the start."""

    def __init__(
        self,
        module: nn.Module,
        adaptable: Sequence[str],
        x: NDArray[Any],
        y: NDArray[Any],
        steps: int,
        rate: float,
    ) -> None:
        self.module, self.steps, self.rate = module, steps, rate
        self.names = tuple(adaptable)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        named = dict(module.named_parameters())
        for name, parameter in named.items():
            parameter.requires_grad_(name in self.names)
        self.moving: list[Tensor] = [named[name] for name in self.names]
        self.start = [parameter.detach().clone() for parameter in self.moving]
        self.loss = 0.0

    def steps_only(self) -> None:
        """From the start, all steps."""
        with torch.no_grad():
            torch._foreach_copy_(self.moving, self.start)
        for _ in range(self.steps):
            grads = torch.autograd.grad(F.cross_entropy(self.module(self.x), self.y), self.moving)
            with torch.no_grad():
                torch._foreach_add_(self.moving, grads, alpha=-self.rate)

    def adapt(self) -> None:
        """All steps, then the pass that tells the loss and the statistics of what was adapted."""
        self.steps_only()
        with torch.no_grad():
            self.loss = float(F.cross_entropy(self.module(self.x), self.y))

    def features_kept(self) -> None:
        """What one does by hand where only the head moves: the features are computed once."""
        head = self.module.get_submodule("head")
        kept: list[Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        with torch.no_grad():
            torch._foreach_copy_(self.moving, self.start)
            self.module(self.x)
        hook.remove()
        for _ in range(self.steps):
            grads = torch.autograd.grad(F.cross_entropy(head(kept[0]), self.y), self.moving)
            with torch.no_grad():
                torch._foreach_add_(self.moving, grads, alpha=-self.rate)
        with torch.no_grad():
            self.loss = float(F.cross_entropy(head(kept[0]), self.y))

    def channels_last(self) -> "Eager":
        """The same with images and filters laid out channel by channel."""
        module = copy.deepcopy(self.module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        made = Eager(module, self.names, self.x.numpy(), self.y.numpy(), self.steps, self.rate)
        made.x = made.x.contiguous(memory_format=torch.channels_last)
        return made

    def errors(self, found: Arrays) -> tuple[float, float]:
        """How far another's updates and these are from torch in fp64, relative to the size of all together.

        Neither may be small: in a network fresh from its initialisation, a ReLU that falls the other way in
        fp32 can turn a fifth of an update.
        """
        self.adapt()
        module = copy.deepcopy(self.module).double()
        exact = Eager(module, self.names, self.x.double().numpy(), self.y.numpy(), self.steps, self.rate)
        exact.start = [start.double() for start in self.start]
        exact.adapt()
        truth = [parameter.detach().numpy() for parameter in exact.moving]
        size = _norm([t - s.numpy() for t, s in zip(truth, exact.start, strict=True)])
        both = [found[name] for name in self.names], [p.detach().numpy() for p in self.moving]
        theirs, mine = (_norm([a - t for a, t in zip(run, truth, strict=True)]) / size for run in both)
        return theirs, mine


def _norm(arrays: Sequence[NDArray[Any]]) -> float:
    return float(np.sqrt(sum(float((array**2).sum()) for array in arrays)))
