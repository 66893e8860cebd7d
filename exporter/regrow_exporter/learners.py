"""What is exported: a rule made by name, and the learner of a module under it."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from regrow.errors import UnsupportedError
from regrow.moves import Adaptable, Positions, Ranges, RowSet, moves
from regrow_exporter.budget import Budget
from regrow_exporter.capture import NO_ARGS, labelled
from regrow_exporter.metric import HEAD, attach
from regrow_exporter.programs import Learner
from regrow_exporter.resolve import resolve
from regrow_exporter.rows import Selected, as_ranges, selected
from regrow_exporter.rule import MetricRule, Rule, Still, rates_for
from regrow_exporter.ties import first_names, named_shapes, ties

Masks = Mapping[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Moving:
    """What changes while adapting, and by which rule."""

    rule: Rule
    steps: int
    names: tuple[str, ...]  # the set asked for, which `meta` was trained for
    meta: Mapping[str, torch.Tensor] | None
    masks: Masks  # kept positions of every masked parameter
    update: Positions
    head: str = ""  # of a metric rule: where its head is in the module
    rows: Mapping[str, Ranges] = field(default_factory=dict)  # of parameters that move in part

    @property
    def exact(self) -> tuple[str, ...]:
        """Parameters that stay fp32: what a metric head starts from is no weight, but sums and counts."""
        return self.names if self.head else ()

    def learner(
        self,
        module: nn.Module,
        shape: tuple[int, ...],
        names: tuple[str, ...],
        loss: str,
        loss_args: Mapping[str, Any] = NO_ARGS,
    ) -> Learner:
        """The learner of a module in which `names` are adaptable."""
        params = {n: p.detach() for n, p in module.named_parameters()}
        inside: dict[str, torch.Tensor] = {}
        for name, kind in self.kinds(names).items():
            kept = self.masks[name].numpy() if name in self.masks else None
            mask = moves(kind, tuple(params[name].shape), kept)
            inside |= {} if mask is None else {name: torch.from_numpy(mask)}
        rates = rates_for(self.rule, {n: params[n] for n in names}, self.meta, self.names)
        return Learner(module, shape, names, self.rule, rates, loss, inside, loss_args, self.head)

    def kinds(self, names: tuple[str, ...]) -> dict[str, Adaptable]:
        """Which positions of each of `names` may move."""
        whole: dict[str, Positions] = {n: self.update if n in self.masks else "all" for n in names}
        return {n: RowSet(whole[n], self.rows[n]) if n in self.rows else whole[n] for n in names}


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


def check_head(rule: Any, head: str | None, ways: int | None, loss: str, budgets: Sequence[Budget]) -> None:
    """Refuse what a rule of the other sort could not mean."""
    if not is_metric(rule):
        if head != HEAD or ways is not None:
            raise UnsupportedError(
                "export: head and ways describe a metric head, but this rule steps along a gradient; leave "
                "them out, or use a metric rule such as prototype"
            )
    elif not labelled(loss):
        raise UnsupportedError(f"export: loss={loss!r}: a metric head tells classes apart; use cross_entropy")
    elif budgets:
        raise UnsupportedError(
            f"export: budget {', '.join(repr(b.text) for b in budgets)}: it chooses what adapts, but of a "
            "metric head nothing else does; leave it out, or use a rule that steps along a gradient"
        )


def stepping(
    module: nn.Module,
    rule: Rule,
    steps: int,
    adaptable: Sequence[str],
    meta: Mapping[str, torch.Tensor] | None,
    masks: Masks,
    update: Positions,
    budgets: Sequence[Budget] = (),
) -> Moving:
    """A rule that steps along the gradient of what `adaptable` names."""
    chosen = _tied(selected(named_shapes(module), adaptable), ties(module)) if adaptable else Selected((), {})
    if budgets and chosen.rows:
        raise UnsupportedError(
            f"export: budget {', '.join(repr(b.text) for b in budgets)} beside rows of "
            f"{', '.join(chosen.rows)}: a budget chooses among whole parameters; give one or the other"
        )
    return Moving(rule, steps, chosen.names, meta, masks, update, rows=chosen.rows)


def _tied(chosen: Selected, tied: Mapping[str, str]) -> Selected:
    """A tensor of several names moves where any of them lets it."""
    whole = {tied.get(n, n) for n in chosen.names if n not in chosen.rows}
    rows: dict[str, set[int]] = {}
    for name, ranges in chosen.rows.items():
        if (first := tied.get(name, name)) not in whole:
            rows.setdefault(first, set()).update(i for start, stop in ranges for i in range(start, stop))
    return Selected(first_names(chosen.names, tied), {n: as_ranges(own) for n, own in rows.items()})


def fitting(
    module: nn.Module,
    example: torch.Tensor,
    rule: MetricRule,
    head: str | None,
    ways: int | None,
    masks: Masks,
) -> Moving:
    """A metric rule, its head put into the module; of what that carries only what is not zero is stored."""
    path = attach(module, example, rule, head, ways)
    params = {n: p.detach() for n, p in module.named_parameters()}
    carried = tuple(n for n in params if n.rpartition(".")[0] == path)
    empty = {n: torch.zeros_like(params[n], dtype=torch.bool) for n in carried if not params[n].any()}
    left = {n: mask for n, mask in masks.items() if n in params and n not in carried}
    return Moving(Still(), 1, carried, None, left | empty, "all", path)
