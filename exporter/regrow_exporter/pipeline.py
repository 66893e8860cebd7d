"""The front door: a torch module or a checkpoint in, a verified bundle out."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from regrow.episodes import Source
from regrow.errors import UnsupportedError
from regrow.manifest import BatchNorm, InputSpec, Manifest
from regrow.moves import Positions
from regrow.values import Values
from regrow_exporter.budget import candidates, parse_budget
from regrow_exporter.c_writer import write_c
from regrow_exporter.capture import NO_ARGS, labelled, loss_function, loss_options
from regrow_exporter.choose import Chosen, check_open, choose, measured_drafts, stated
from regrow_exporter.costs import counted
from regrow_exporter.drafting import Job, drafted, given
from regrow_exporter.learners import check_head, fitting, is_metric, make_rule, stepping
from regrow_exporter.masks import merged
from regrow_exporter.measure import Drawn, Episodes, draw
from regrow_exporter.metric import HEAD
from regrow_exporter.onnx_writer import write_single
from regrow_exporter.pack import Description, significant, versions
from regrow_exporter.precision import PRECISIONS
from regrow_exporter.prepare import prepared
from regrow_exporter.programs import capture, width
from regrow_exporter.self_test import self_test
from regrow_exporter.stages import Silent, Stages
from regrow_exporter.ties import first_names, named_shapes, ties
from regrow_exporter.verify import verify
from regrow_exporter.verify_fit import verify_fit
from regrow_exporter.write import write_checked, write_onnx

# A manifest holds finite numbers only; no loss in fp32 rises by more.
UNBOUNDED = float(np.finfo(np.float32).max)
MOVES: tuple[Positions, ...] = ("kept", "pruned", "all")


@dataclass(frozen=True)
class Exported:
    """What was written, and what it was found to be."""

    path: Path
    digest: str
    manifest: Manifest
    bytes: int
    dense_onnx_bytes: int
    choice: dict[str, Any]  # the tables that were chosen from, times included
    costs: dict[str, dict[str, int]]  # of a step of the rule, and of regrowing what was pruned


def export(
    module: nn.Module,
    example: torch.Tensor,
    *,
    adaptable: Sequence[str] | None = None,
    rule: str = "sgd",
    lr: float = 0.01,
    steps: int = 5,
    loss: str = "cross_entropy",
    loss_args: Mapping[str, Any] = NO_ARGS,
    masks: Mapping[str, torch.Tensor] | str | None = None,
    update: Positions = "kept",
    precision: Values | Literal["auto"] = "fp32",
    max_drop: float = 0.5,
    budget: str | Sequence[str] = (),
    episodes: Episodes | str | Source | None = None,
    path: str | os.PathLike[str] = "model.regrow",
    onnx: str | os.PathLike[str] | None = None,
    c: str | os.PathLike[str] | None = None,
    c_samples: int | None = None,
    c_plan: str = "small",
    name: str | None = None,
    rule_args: Mapping[str, Any] | None = None,
    head: str | None = HEAD,
    ways: int | None = None,
    meta: Mapping[str, torch.Tensor] | None = None,
    input: InputSpec | None = None,
    labels: Sequence[str] | None = None,
    batch_norm: BatchNorm | None = None,
    max_loss_rise: float | None = None,
    provenance: Mapping[str, Any] | None = None,
    simplify: bool = True,
    stages: Stages | None = None,
) -> Exported:
    """Differentiate `module` ahead of time and write a verified bundle.

    `example` is a batch of real samples: its shape is the model's input, and where the network normalises by
    batch statistics, theirs are what a session predicts with before its first adaptation. Masks are taken
    from the module's `torch.nn.utils.prune` hooks and from `masks`: a dict, or "zeros" for exact zeros.

    With `episodes` the accuracy before and after adaptation is measured and stated in the manifest. Then
    `precision="auto"` takes the smallest that drops at most `max_drop` accuracy points, and `budget` ("64KiB"
    of peak memory, "delta:4KiB", "5ms"; one or several) the adaptable set that fits and gains most per byte.
    `adaptable` is ["head.*"] unless given; under a budget it is one more candidate. A pattern may end in
    rows, such as "conv.weight[0:16]" or "@head[3,5]": of these parameters only those output channels move.

    A metric rule such as `prototype` is fitted in one step without a gradient. Its head takes the place of
    the layer `head` (None: the network's output already is the features) and has room for `ways` classes
    (unless given, the layer's own outputs); `adaptable`, `lr`, `steps` and `update` do not concern it, and
    there is no `budget` to choose it by. `max_loss_rise` is 1 unless given; a fit, which cannot run away, is
    not held to any.

    Unless `simplify` is False, dead channels are cut out, what frozen tensors alone decide is computed here,
    and norms by running statistics go into the layers before; `provenance["simplified"]` says what changed.

    `onnx` and `c` name folders to write as well: graphs for onnxruntime, and C for machines without an
    operating system that learn from `c_samples` samples at a time (default: those of the episodes, else 5),
    by a `c_plan` that is "small" or "small-fp16", which keeps what waits for backward in fp16.
    """
    stages = stages or Silent()
    _check_choices(precision, update, loss, steps, example)
    budgets = [parse_budget(text) for text in ([budget] if isinstance(budget, str) else budget)]
    made_rule, rule_path, args = make_rule(rule, rule_args, lr)
    metric = is_metric(made_rule)
    check_head(made_rule, head, ways, loss, budgets)
    check_open(precision, max_drop, budgets, episodes)
    path = Path(path)
    whole, found = prepared(module)
    kept = merged(whole, found, masks)
    own = adaptable or (() if budgets else ("head.*",))
    if metric:
        moving = fitting(whole, example, made_rule, head, ways, kept)
    else:
        moving = stepping(whole, made_rule, steps, own, meta, kept, update, budgets)
    shape = tuple(example.shape[1:])
    outputs = width(whole, shape)
    job = Job(
        whole,
        moving,
        loss,
        loss_options(loss, loss_args, outputs),
        batch_norm,
        example.detach().numpy().astype(np.float32),
        Description(
            name=name or path.stem,
            input=input or InputSpec(shape=shape, kind="image" if len(shape) == 3 else "vector"),
            labels=tuple(labels) if labels else None,
            rule_name=rule_path.rpartition(":")[2],
            rule_path=rule_path,
            rule_args=args,
            steps=moving.steps,
            batch_norm="none",
            max_loss_rise=(UNBOUNDED if metric else 1.0) if max_loss_rise is None else max_loss_rise,
            values={},
            provenance={"versions": versions(), **(provenance or {})},
        ),
        simplify,
    )
    drawn = None if episodes is None else draw(episodes, job.about.input, outputs, labelled(loss))
    stages.at("capturing and differentiating", 0.01)
    # Neither the adaptable set nor the values of the weights change what is captured.
    captured = capture(whole, shape, loss, job.loss_args, moving.head)
    sets = candidates(named_shapes(whole), own) if budgets else {}
    chosen = choose(
        lambda names, precision, programs: drafted(job, names, precision, captured, programs),
        [p for p in PRECISIONS if precision in (p, "auto")],
        moving.names,
        {label: first_names(names, ties(whole)) for label, names in sets.items()},
        drawn,
        budgets,
        max_drop,
        stages,
    )
    made = _finish(job, chosen, drawn, path, onnx, stages)
    if c is not None:
        write_c(path, c, c_samples, c_plan)
    return made


def _finish(
    job: Job,
    chosen: Chosen,
    drawn: Drawn | None,
    path: Path,
    onnx: str | os.PathLike[str] | None,
    stages: Stages,
) -> Exported:
    """Prove the draft, measure it where nobody has, and write it."""
    made, measured = chosen.draft, chosen.measured
    parts, steps = (made.learner, made.programs, made.env), job.about.steps
    says = "verifying against torch in fp64, and the engines in fp32"
    stages.at(says, 0.05)
    told: Callable[[float], None] = lambda share: stages.at(says, 0.05 + 0.8 * share)  # noqa: E731
    shown = (told, made.unwritten(), given(job, made))
    proof = verify_fit(*parts, *shown) if made.learner.head else verify(*parts, steps, *shown)
    if drawn is not None and measured is None:
        (measured,) = measured_drafts([made], drawn, stages)
    stages.at("packing", 0.85)
    manifest = replace(
        made.manifest,
        verification=significant(proof, 3),
        selftest=self_test(made, steps),
        provenance={
            **made.manifest.provenance,
            "loss": {"name": job.loss, "args": job.loss_args},
            **stated(measured, drawn, chosen.record),
        },
    )
    digest = write_checked(path, manifest, made.tensors)
    dense = write_single(made.programs.deployed["predict"], made.env, "predict").ByteSize()
    if onnx is not None:
        stages.at("writing ONNX", 0.95)
        kept = made.programs.simplified.masks({n: m.numpy() for n, m in job.moving.masks.items()})
        write_onnx(Path(onnx), made.programs, made.env, manifest, kept)
    stages.at(f"wrote {path}", 1.0)
    costs = counted(made, job.moving)
    return Exported(path, digest, manifest, path.stat().st_size, dense, chosen.record, costs)


def _check_choices(precision: str, update: str, loss: str, steps: int, example: torch.Tensor) -> None:
    loss_function(loss)
    choices = (("precision", precision, (*PRECISIONS, "auto")), ("update", update, MOVES))
    if steps < 1:
        raise UnsupportedError(f"export: steps={steps}, expected at least 1")
    for what, found, allowed in choices:
        if found not in allowed:
            raise UnsupportedError(f"export: {what}={found!r}, expected one of {', '.join(allowed)}")
    if example.ndim < 2 or len(example) < 2 or not example.is_floating_point():
        raise UnsupportedError(
            f"export: example of shape {tuple(example.shape)}, {example.dtype}; expected a float batch of at "
            "least two samples, as the model takes them"
        )
