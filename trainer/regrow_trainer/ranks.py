"""Several processes share the tasks of every meta-batch: which of them this one takes, and sums over all.

`torchrun --nproc-per-node 2 -m regrow train ...` starts them. Each holds the whole state and makes the same
step from the same sums; only the first writes. How many there are is nothing a checkpoint knows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed
from torch.utils._pytree import tree_flatten, tree_unflatten

from regrow.errors import RegrowError
from regrow_trainer.device import backend
from regrow_trainer.recipe import Recipe

Tree = TypeVar("Tree")  # a tensor, or tuples and dicts of tensors


@dataclass(frozen=True)
class Ranks:
    """This process among `world`."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    def part(self, count: int) -> tuple[int, int]:
        """First and number of the tasks it takes of `count`."""
        first, last = (count * rank // self.world for rank in (self.rank, self.rank + 1))
        return first, last - first

    def total(self, tree: Tree) -> Tree:
        """The sum over all processes, the same bits in each."""
        if self.world == 1:
            return tree
        leaves, form = tree_flatten(tree)
        # One message, in double precision: the order in which it is summed then hardly matters.
        buffer = torch.cat([leaf.detach().flatten().double() for leaf in leaves])
        distributed.all_reduce(buffer)
        parts = torch.split(buffer, [leaf.numel() for leaf in leaves])
        made: Tree = tree_unflatten(
            [part.view_as(leaf).to(leaf.dtype) for part, leaf in zip(parts, leaves, strict=True)], form
        )
        return made

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            distributed.barrier()

    def check(self, recipe: Recipe) -> None:
        """Refuse what leaves a process without work."""
        for key, count in (
            ("train.tasks", recipe.train.tasks),
            ("validation.episodes", recipe.validation.episodes),
        ):
            if count < self.world:
                raise RegrowError(
                    f"recipe {recipe.name}: {key} is {count}, expected at least one for each of {self.world} "
                    "processes; raise it or start fewer"
                )


ALONE = Ranks()
CPU = torch.device("cpu")


@contextmanager
def joined(device: torch.device = CPU) -> Iterator[Ranks]:
    """The processes that torchrun started, joined while the block runs; else this one alone.

    GPUs talk through NCCL, processors through gloo.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(backend(device))
    try:
        yield Ranks(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
