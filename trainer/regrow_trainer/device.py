"""Where training computes: a GPU where there is one, each process its own; else the processor."""

from __future__ import annotations

import os
from typing import Literal, TypeVar

import torch
from torch.utils._pytree import tree_map

from regrow.errors import UnsupportedError

Device = Literal["auto", "cpu", "cuda"]
Tree = TypeVar("Tree")  # tensors, or tuples and dicts of them and of other things


def pick(name: Device = "auto") -> torch.device:
    """`auto` is a GPU where torch finds one; under torchrun that of this process's number."""
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise UnsupportedError(
            "train --device cuda: torch finds no GPU, expected one; install a CUDA build of torch or leave "
            "the option out"
        )
    if name == "cpu" or not found:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def backend(device: torch.device) -> str:
    """What processes talk through."""
    return "nccl" if device.type == "cuda" else "gloo"


def put(tree: Tree, device: torch.device) -> Tree:
    """The same with every tensor on the device; those there already are not copied."""
    made: Tree = tree_map(lambda t: t.to(device) if isinstance(t, torch.Tensor) else t, tree)
    return made
