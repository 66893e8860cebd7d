"""Convolution and batch norm for many tasks at once, each task with weights of its own.

Inside `fast()` a module's calls of torch's own operations come here. The results are the same up to rounding;
what differs is where the time goes: tasks are the groups of one convolution, values lie channels last, and
first and second derivatives are written out instead of composed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from regrow_trainer.kernels.conv import conv2d
from regrow_trainer.kernels.norm import batch_norm

# Each takes what torch's operation takes, and answers None where the case is not one of its own.
_OWN: dict[Callable[..., Any], Callable[..., Any]] = {torch.conv2d: conv2d, F.batch_norm: batch_norm}


class fast(TorchFunctionMode):  # noqa: N801 - a context manager, as torch's own are
    """Inside the block the operations above are done here."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        own = _OWN.get(func)
        made = None if own is None else own(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if made is None else made
