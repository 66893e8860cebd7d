"""Subnetworks that a method learned by itself, as a plain learner: MMSUP's weights, BMP's layers.

What they choose anew for every task is settled once, on the server, so that a device carries and computes
only what is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from regrow.checkpoint import Checkpoint
from regrow.errors import UnsupportedError
from regrow_trainer.backbones.supermask import kept
from regrow_trainer.batching import Workers
from regrow_trainer.build import build, open_data
from regrow_trainer.feed import EVIDENCE, draw, stream_seed
from regrow_trainer.learner import Learner, Task
from regrow_trainer.recipe import parse_recipe
from regrow_trainer.state import State, fresh
from regrow_trainer.tensors import to_arrays, to_tensors, zero

_KEEP = ".keep"
_TASKS = 64
_OFTEN = 0.5


def mmsup(start: Checkpoint, place: str, workers: int | None = None) -> Checkpoint:
    """The backbone without its learned shares, under the masks they mean before adaptation."""
    recipe = dict(start.recipe)
    if recipe["backbone"]["name"] != "supermask":
        raise UnsupportedError(
            f"{place}: its backbone is {recipe['backbone']['name']}, expected a supermask; use another method"
        )
    args = recipe["backbone"]["args"]
    revive = bool(args.get("revive", False))
    params = to_tensors(start.params)
    shares = {n.removesuffix(_KEEP): share for n, share in params.items() if n.endswith(_KEEP)}
    masks = {}
    for layer, share in shares.items():
        masks[f"{layer}.weight"] = kept(params[f"{layer}.weight"], share, revive) != 0
    plain = {n: p for n, p in params.items() if not n.endswith(_KEEP)}
    recipe["backbone"] = {"name": args.get("backbone", "conv4"), "args": args.get("args") or {}}
    meta = {n: t for n, t in start.meta.items() if not n.endswith(_KEEP)}
    return _settled(
        start, recipe, place, params=to_arrays(zero(masks, plain)), masks=to_arrays(masks), meta=meta
    )


def bmp(start: Checkpoint, place: str, workers: int | None = None) -> Checkpoint:
    """Plain gradient descent on the tensors that move in at least half of all tasks and steps."""
    recipe = dict(start.recipe)
    if recipe["rule"]["name"] != "bmp":
        raise UnsupportedError(
            f"{place}: its rule is {recipe['rule']['name']}, expected bmp; use another method"
        )
    built = build(parse_recipe(recipe, place))
    data, seed = built.recipe.data, stream_seed(built.recipe.seed, EVIDENCE)
    source = open_data(built.recipe, data.train)
    tasks = draw(source, data, built.recipe.input, data.queries, seed, 0, _TASKS)
    state = fresh(to_tensors(start.params), to_tensors(start.meta), to_tensors(start.masks))
    with Workers(built.learner, "loop", workers) as pool:
        moved = torch.stack(list(pool.stream(partial(_moved, state), tasks))).mean(0)
    names = [n for n, share in zip(built.learner.adaptable, moved.tolist(), strict=True) if share >= _OFTEN]
    if not names:
        raise UnsupportedError(
            f"{place}: no tensor moves in half of all tasks, expected one; train it longer"
        )
    args = {k: v for k, v in recipe["rule"]["args"].items() if k == "lr"}
    recipe["rule"] = {"name": "sgd", "args": args or {"lr": 0.01}}
    recipe["learner"] = {**recipe.get("learner", {}), "adaptable": names}
    recipe["train"] = {**recipe["train"], "rule_lr": 0.0}
    plain = build(parse_recipe(recipe, place))
    return _settled(start, recipe, place, meta=to_arrays(plain.meta(state.params)))


# name -> what settles the subnetwork that a checkpoint of that method holds
SUBNETS: dict[str, Callable[[Checkpoint, str, int | None], Checkpoint]] = {"bmp": bmp, "mmsup": mmsup}


def _moved(state: State, learner: Learner, task: Task) -> Tensor:
    """Per adaptable tensor, the share of steps in which it moved."""
    x, y = task.support_x, task.support_y
    path = learner.path(state.params, state.meta, state.masks, x, y, learner.steps)
    steps = list(pairwise(path))
    return torch.tensor(
        [sum(not torch.equal(a[n], b[n]) for a, b in steps) / len(steps) for n in learner.adaptable]
    )


def _settled(start: Checkpoint, recipe: dict[str, Any], place: str, **changes: Any) -> Checkpoint:
    built = build(parse_recipe(recipe, place))
    return replace(
        start,
        backbone=built.backbone,
        rule=built.rule,
        adaptable=tuple(built.recipe.learner.adaptable),
        extra={},
        recipe=built.recipe.model_dump(mode="json", exclude_none=True),
        **changes,
    )
