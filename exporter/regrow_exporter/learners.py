"""What is exported: a rule made by name, and the learner of a module under it."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from regrow.errors import UnsupportedError
from regrow.manifest import Adaptable
from regrow.select import select
from regrow_exporter.capture import labelled
from regrow_exporter.metric import HEAD, attach
from regrow_exporter.programs import Learner
from regrow_exporter.resolve import resolve
from regrow_exporter.rule import MetricRule, Rule, Still

Masks = dict[str, torch.Tensor]
Kinds = dict[str, Adaptable]


def make_rule(rule: str, args: Mapping[str, Any] | None, lr: float) -> tuple[Any, str, dict[str, Any]]:
    """A rule of the trainer by its short name, or any by its path; `lr` where it takes one."""
    path = rule if ":" in rule else f"regrow_trainer.rules.{rule}:{rule}"
    make = resolve(path, named_by_user=True)
    if args is None:
        args = {"lr": lr} if "lr" in inspect.signature(make).parameters else {}
    try:
        return make(**args), path, dict(args)
    except TypeError as error:
        known = ", ".join(inspect.signature(make).parameters)
        raise UnsupportedError(f"export: rule {rule}: {error}; its arguments: {known or 'none'}") from error


def is_metric(rule: Any) -> bool:
    """Whether a rule is fitted instead of stepping along a gradient."""
    return hasattr(rule, "fit")


def stepping(
    module: nn.Module,
    shape: tuple[int, ...],
    rule: Rule,
    adaptable: Sequence[str],
    meta: Mapping[str, torch.Tensor] | None,
    loss: str,
    kept: Masks,
    update: Adaptable,
) -> tuple[Learner, Kinds]:
    """The learner of a rule that steps, and which positions of each tensor may move."""
    params = {n: p.detach() for n, p in module.named_parameters()}
    chosen = select({n: tuple(p.shape) for n, p in params.items()}, adaptable)
    kinds: Kinds = {n: update if n in kept else "all" for n in chosen}
    moves = {n: kept[n] if k == "kept" else ~kept[n] for n, k in kinds.items() if k != "all" and n in kept}
    rates = meta if meta is not None else rule.meta({n: params[n] for n in chosen})
    return Learner(module, shape, chosen, rule, rates, loss, moves), kinds


def check_head(rule: Any, head: str | None, ways: int | None, loss: str) -> None:
    """Refuse what a rule of the other sort could not mean."""
    if not is_metric(rule):
        if head != HEAD or ways is not None:
            raise UnsupportedError(
                "export: head and ways describe a metric head, but this rule steps along a gradient; leave "
                "them out, or use a metric rule such as prototype"
            )
    elif not labelled(loss):
        raise UnsupportedError(f"export: loss={loss!r}: a metric head tells classes apart; use cross_entropy")


def fitting(
    module: nn.Module, example: torch.Tensor, rule: MetricRule, head: str | None, ways: int | None, loss: str
) -> tuple[Learner, Masks]:
    """The learner of a metric head, put into the module, and the positions of it that are worth storing."""
    path = attach(module, example, rule, head, ways)
    params = {n: p.detach() for n, p in module.named_parameters()}
    carried = tuple(n for n in params if n.rpartition(".")[0] == path)
    learner = Learner(module, tuple(example.shape[1:]), carried, Still(), {}, loss, {}, path)
    empty = {n: torch.zeros_like(params[n], dtype=torch.bool) for n in carried if not params[n].any()}
    return learner, empty
