"""Which channels belong together, and what is left of the tensors when some of them go.

torch-pruning finds the dependencies by tracing the network once; the rest is index arithmetic on tensors, so
weights, masks and rates are cut alike.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from regrow.errors import UnsupportedError
from regrow_trainer.learner import head_of
from regrow_trainer.norm import BatchNorm
from regrow_trainer.pruners import Scope
from regrow_trainer.tensors import Tensors

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)


class Member(NamedTuple):
    """A dimension of a parameter that follows a group: the channel of each of its entries."""

    name: str
    dim: int
    channel: Tensor


class Group(NamedTuple):
    """Channels that can only go together, of every layer that makes or takes them."""

    name: str
    size: int
    members: tuple[Member, ...]


def channel_groups(module: nn.Module, shape: Sequence[int]) -> tuple[Group, ...]:
    """All groups of a network but the classes, in the order of its layers."""
    import torch_pruning

    traced, params = _traceable(module), dict(module.named_parameters())
    graph = torch_pruning.DependencyGraph()
    graph.build_dependency(traced, torch.rand(2, *shape), verbose=False)
    head = head_of(list(params))
    names = {id(layer): name for name, layer in traced.named_modules()}
    found: list[Group] = []
    for place, layer in traced.named_modules():
        covered = {member.name for group in found for member in group.members if member.dim == 0}
        if not isinstance(layer, _LAYERS) or place == head or f"{place}.weight" in covered:
            continue
        act = graph.get_pruner_of_module(layer).prune_out_channels
        whole = graph.get_pruning_group(layer, act, list(range(len(layer.weight))))
        found.append(_group(whole, names, params))
    if not found:
        raise UnsupportedError(
            "prune: channels: no layer whose channels can be told apart, expected convolutions or linear "
            "layers; prune single weights of this backbone"
        )
    return tuple(found)


def channel_scores(groups: Sequence[Group], scores: Tensors) -> list[Tensor]:
    """Per group, what its channels are worth: the sum of the scores of all weights that make or take them."""
    made = []
    for group in groups:
        total = torch.zeros(group.size, dtype=torch.float64)
        for name, dim, channel in group.members:
            if name in scores:
                flat = scores[name].double().transpose(0, dim).flatten(1).sum(1)
                total.index_add_(0, channel, flat)
        made.append(total)
    return made


def choose(
    groups: Sequence[Group], worth: Sequence[Tensor], weights: Tensors, sparsity: float, scope: Scope
) -> list[Tensor]:
    """Per group, True where a channel stays: the fewest go that take this share of the weights with them.

    Under `layer` each group loses the same share of its channels, under `global` they compete; no group loses
    its last.
    """
    order = _order(worth, scope)
    low, high = 0, len(order)
    while low < high:  # the smallest number of channels that is enough
        middle = (low + high) // 2
        if removed_share(groups, _kept(groups, order[:middle]), weights) < sparsity - 1e-9:
            low = middle + 1
        else:
            high = middle
    kept = _kept(groups, order[:low])
    found = removed_share(groups, kept, weights)
    if found < sparsity - 1e-9:
        raise UnsupportedError(
            f"prune: channels: {found:.1%} of the weights go with all channels but one of each group, "
            f"expected {sparsity:.1%}; ask for less, or for single weights"
        )
    return kept


def removed_share(groups: Sequence[Group], kept: Sequence[Tensor], weights: Tensors) -> float:
    """The share of the weights that go with the channels."""
    left = {n: list(w.shape) for n, w in weights.items()}
    for group, stay in zip(groups, kept, strict=True):
        for name, dim, channel in group.members:
            if name in left:
                left[name][dim] = int(stay[channel].sum())
    after = sum(torch.Size(shape).numel() for shape in left.values())
    return 1 - after / sum(w.numel() for w in weights.values())


def cut(groups: Sequence[Group], kept: Sequence[Tensor], tensors: Mapping[str, Tensor]) -> Tensors:
    """What is left of tensors, by the names of the parameters they belong to."""
    made = dict(tensors)
    for group, stay in zip(groups, kept, strict=True):
        for name, dim, channel in group.members:
            if name in made:
                made[name] = made[name].index_select(dim, stay[channel].nonzero().flatten())
    return made


def silenced(groups: Sequence[Group], kept: Sequence[Tensor], params: Tensors) -> Tensors:
    """The whole parameters with zeros for what is removed: they compute what the smaller ones do."""
    masks = as_masks(groups, kept, params)
    return {n: p.masked_fill(~masks[n], 0.0) for n, p in params.items()}


def as_masks(groups: Sequence[Group], kept: Sequence[Tensor], weights: Tensors) -> Tensors:
    """The same as masks of whole tensors: False wherever a removed channel is made or taken."""
    made = {n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()}
    for group, stay in zip(groups, kept, strict=True):
        for name, dim, channel in group.members:
            if name in made:
                made[name].transpose(0, dim)[~stay[channel]] = False
    return made


def _order(worth: Sequence[Tensor], scope: Scope) -> list[tuple[int, int]]:
    """(group, channel) in the order they go; the last of each group is not among them."""
    going: list[tuple[float, int, int]] = []
    for g, values in enumerate(worth):
        ranked = values.argsort(stable=True).tolist()
        for rank, channel in enumerate(ranked[:-1]):
            key = (rank + 1) / len(ranked) if scope == "layer" else float(values[channel])
            going.append((key, g, channel))
    return [(g, channel) for _, g, channel in sorted(going)]


def _kept(groups: Sequence[Group], gone: Sequence[tuple[int, int]]) -> list[Tensor]:
    made = [torch.ones(group.size, dtype=torch.bool) for group in groups]
    for g, channel in gone:
        made[g][channel] = False
    return made


def _group(group: Any, names: Mapping[int, str], params: Mapping[str, Tensor]) -> Group:
    members: dict[tuple[str, int], list[Tensor]] = {}
    for item in group:
        place = names.get(id(item.dep.target.module))
        if place is None:
            continue  # an operation between layers has no weights
        outwards = item.dep.handler.__name__ == "prune_out_channels"
        where, channel = torch.tensor(item.idxs), torch.tensor(item.root_idxs)
        for leaf in ("weight", "bias"):
            name, dim = f"{place}.{leaf}", 0 if outwards else 1
            if name in params and dim < params[name].dim():
                at = members.setdefault((name, dim), [torch.full((params[name].shape[dim],), -1)])[0]
                at[where] = channel
    made = tuple(Member(name, dim, at) for (name, dim), (at,) in members.items())
    if any(bool((m.channel < 0).any()) for m in made):
        odd = next(m for m in made if bool((m.channel < 0).any()))
        raise UnsupportedError(
            f"prune: channels: {odd.name} takes channels of several layers side by side, expected one; prune "
            "single weights of this backbone"
        )
    made = tuple(sorted(made, key=lambda m: list(params).index(m.name)))
    return Group(made[0].name.rpartition(".")[0], int(made[0].channel.max()) + 1, made)


def _traceable(module: nn.Module) -> nn.Module:
    """A copy in which torch-pruning knows every layer."""
    made = copy.deepcopy(module)
    for name, layer in list(made.named_modules()):
        if isinstance(layer, BatchNorm):
            made.set_submodule(name, _Norm(layer))
        elif isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups > 1:
            raise UnsupportedError(
                f"prune: channels: {name} convolves in {layer.groups} groups, expected one; "
                "prune single weights"
            )
    return made


class _Norm(nn.BatchNorm2d):
    """Of any number of dimensions: what is traced are the channels."""

    def __init__(self, norm: BatchNorm) -> None:
        super().__init__(len(norm.weight))

    def _check_input_dim(self, input: Tensor) -> None:
        return
