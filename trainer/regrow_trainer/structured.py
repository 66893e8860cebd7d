"""Remove whole channels: a checkpoint of a network in, one of a smaller dense network out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from regrow.checkpoint import Checkpoint
from regrow.errors import UnsupportedError
from regrow_trainer.batching import Workers
from regrow_trainer.build import Built, build
from regrow_trainer.channels import (
    Group,
    as_masks,
    channel_groups,
    channel_scores,
    choose,
    cut,
    removed_share,
    silenced,
)
from regrow_trainer.evidence import evidence
from regrow_trainer.pruners import prunable, pruner
from regrow_trainer.ranks import ALONE
from regrow_trainer.recipe import Prune, parse_recipe
from regrow_trainer.state import fresh
from regrow_trainer.tensors import Tensors, to_arrays, to_tensors

_GAP = 1e-3  # what fp32 may lose through the layers


def narrowed(start: Checkpoint, plan: Prune, place: str, workers: int | None = None) -> Checkpoint:
    """What is left without the channels that a pruner finds worth least, and the others repaired if it can.

    `plan.sparsity` is the share of the prunable weights that goes with them.
    """
    check_plan(plan)
    recipe = parse_recipe({k: v for k, v in start.recipe.items() if k != "prune"}, place)
    built = build(recipe)
    state = fresh(to_tensors(start.params), to_tensors(start.meta), to_tensors(start.masks))
    with Workers(built.learner, recipe.train.batching, workers, recipe.train.chunk) as pool:
        judged = pruner(plan.pruner, plan.args)(evidence(built, state, pool, ALONE))
    groups = channel_groups(built.learner.module, built.input.shape)
    weights = {name: state.params[name] for name in prunable(state.params)}
    kept = choose(groups, channel_scores(groups, judged.scores), weights, plan.sparsity, plan.scope)
    repaired = judged.repaired(as_masks(groups, kept, weights)) if judged.repaired else {}
    params = cut(groups, kept, {**state.params, **repaired})
    backbone = _narrow(built, state.params, params)
    data = {**recipe.model_dump(mode="json", exclude_none=True), "backbone": backbone}
    told = {
        "pruner": plan.pruner,
        "sparsity": removed_share(groups, kept, weights),
        "groups": [
            {"name": g.name, "channels": g.size, "kept": int(stay.sum())}
            for g, stay in zip(groups, kept, strict=True)
        ],
    }
    smaller = build(parse_recipe(data, place))
    _check(built, smaller, silenced(groups, kept, {**state.params, **repaired}), params, place)
    return replace(
        start,
        backbone=smaller.backbone,
        params=to_arrays(params),
        masks=to_arrays(cut(groups, kept, state.masks)),
        meta=to_arrays(_rates(groups, kept, state.meta, smaller.meta(params), place)),
        extra={},
        recipe=smaller.recipe.model_dump(mode="json", exclude_none=True),
        provenance={**start.provenance, "origin": {**start.provenance.get("origin", {}), "channels": told}},
    )


def check_plan(plan: Prune) -> None:
    """Channels go at once, and for good."""
    if plan.schedule != "oneshot" or plan.rewind or plan.device != "kept" or plan.spare:
        raise UnsupportedError(
            f"prune: channels with schedule {plan.schedule!r}, rewind {plan.rewind}, device {plan.device!r}, "
            f"spare {plan.spare}, expected oneshot and none of them; prune what comes of it again for a "
            "further round"
        )


def _narrow(built: Built, before: Tensors, after: Tensors) -> dict[str, Any]:
    """The recipe's backbone with what changed about its shapes."""
    was = built.recipe.backbone
    inner: dict[str, Any] = was.args if was.name == "narrow" else {"backbone": was.name, "args": was.args}
    changed = {n: list(p.shape) for n, p in after.items() if p.shape != before[n].shape}
    return {"name": "narrow", "args": {**inner, "shapes": {**inner.get("shapes", {}), **changed}}}


def _check(whole: Built, smaller: Built, silent: Tensors, params: Tensors, place: str) -> None:
    """The trace may have misread the network; what it cut must compute what the silenced network does."""
    x = torch.rand(4, *whole.input.shape, generator=torch.Generator().manual_seed(0))
    try:
        wanted, found = whole.learner.outputs(silent, x), smaller.learner.outputs(params, x)
        gap = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-6))
    except RuntimeError:  # shapes that do not meet
        gap = math.inf
    if not gap < _GAP:
        raise UnsupportedError(
            f"{place}: without its channels it differs by {gap:.1%} from itself with them silenced, expected "
            "the same; its channels were told apart wrongly: prune single weights of this backbone"
        )


def _rates(
    groups: Sequence[Group], kept: Sequence[Tensor], meta: Tensors, wanted: Mapping[str, Tensor], place: str
) -> Tensors:
    """The rule's tensors for the smaller network, cut like the parameters they belong to."""
    made = {}
    names = {member.name for group in groups for member in group.members}
    for key, tensor in meta.items():
        owner = next((n for n in names if key.endswith(f".{n}")), None)
        made[key] = tensor if owner is None else cut(groups, kept, {owner: tensor})[owner]
    if {k: t.shape for k, t in made.items()} != {k: t.shape for k, t in wanted.items()}:
        raise UnsupportedError(
            f"{place}: its rule has rates that do not follow single weights, expected ones that can be cut; "
            "prune single weights, or train with sgd or meta_sgd"
        )
    return made
