"""The front door: a torch module or a checkpoint in, a verified bundle out."""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from regrow.episodes import Source
from regrow.errors import UnsupportedError
from regrow.manifest import Adaptable, BatchNorm, InputSpec, Manifest
from regrow.select import select
from regrow.values import Values
from regrow_exporter.budget import candidates, parse_budget
from regrow_exporter.capture import NO_ARGS, Captured, labelled, loss_function, loss_options
from regrow_exporter.choose import Chosen, check_open, choose, measured_drafts, stated
from regrow_exporter.draft import Draft
from regrow_exporter.measure import Drawn, Episodes, draw
from regrow_exporter.onnx_writer import write_single
from regrow_exporter.pack import Description, pack, self_test, significant, versions
from regrow_exporter.precision import PRECISIONS, settle
from regrow_exporter.programs import Learner, Programs, build, capture, width
from regrow_exporter.resolve import resolve
from regrow_exporter.rule import Rule, rates_for
from regrow_exporter.stages import Silent, Stages
from regrow_exporter.verify import verify
from regrow_exporter.write import write_checked, write_onnx

MOVES: tuple[Adaptable, ...] = ("kept", "pruned", "all")


@dataclass(frozen=True)
class Exported:
    """What was written, and what it was found to be."""

    path: Path
    digest: str
    manifest: Manifest
    bytes: int
    dense_onnx_bytes: int
    choice: dict[str, Any]  # the tables that were chosen from, times included


@dataclass(frozen=True, eq=False)
class Job:
    """What all drafts of one export share."""

    module: nn.Module  # dropout off, weights not rounded
    rule: Rule
    meta: Mapping[str, torch.Tensor] | None
    meta_of: tuple[str, ...]  # the set that meta was trained for
    loss: str
    loss_args: dict[str, Any]
    masks: Mapping[str, torch.Tensor]
    update: Adaptable
    batch_norm: BatchNorm | None
    calibration: NDArray[np.float32]
    about: Description


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
    update: Adaptable = "kept",
    precision: Values | Literal["auto"] = "fp32",
    max_drop: float = 0.5,
    budget: str | Sequence[str] = (),
    episodes: Episodes | str | Source | None = None,
    path: str | os.PathLike[str] = "model.regrow",
    onnx: str | os.PathLike[str] | None = None,
    name: str | None = None,
    rule_args: Mapping[str, Any] | None = None,
    meta: Mapping[str, torch.Tensor] | None = None,
    input: InputSpec | None = None,
    labels: Sequence[str] | None = None,
    batch_norm: BatchNorm | None = None,
    max_loss_rise: float = 1.0,
    provenance: Mapping[str, Any] | None = None,
    stages: Stages | None = None,
) -> Exported:
    """Differentiate `module` ahead of time and write a verified bundle.

    `example` is a batch of real samples: its shape is the model's input, and where the network normalises by
    batch statistics, theirs are what a session predicts with before its first adaptation.

    With `episodes` the accuracy before and after adaptation is measured and stated in the manifest. Then
    `precision="auto"` takes the smallest that drops at most `max_drop` accuracy points, and `budget` ("64KiB"
    of peak memory, "delta:4KiB", "5ms"; one or several) the adaptable set that fits and gains most per byte.
    `adaptable` is ["head.*"] unless given; under a budget it is one more candidate.
    """
    stages = stages or Silent()
    _check_choices(precision, update, loss, steps, example)
    budgets = [parse_budget(text) for text in ([budget] if isinstance(budget, str) else budget)]
    check_open(precision, max_drop, budgets, episodes)
    path = Path(path)
    args = {"lr": lr} if rule_args is None else dict(rule_args)
    rule_path = rule if ":" in rule else f"regrow_trainer.rules.{rule}:{rule}"
    whole = _prepared(module)
    shape = tuple(example.shape[1:])
    outputs = width(whole, shape)
    shapes = {n: tuple(p.shape) for n, p in whole.named_parameters()}
    own = adaptable or (() if budgets else ("head.*",))
    job = Job(
        whole,
        resolve(rule_path, named_by_user=True)(**args),
        meta,
        select(shapes, own) if own else (),
        loss,
        loss_options(loss, loss_args, outputs),
        _masks(whole, masks),
        update,
        batch_norm,
        example.detach().numpy().astype(np.float32),
        Description(
            name=name or path.stem,
            input=input or InputSpec(shape=shape, kind="image" if len(shape) == 3 else "vector"),
            labels=tuple(labels) if labels else None,
            rule_name=rule_path.rpartition(":")[2],
            rule_path=rule_path,
            rule_args=args,
            steps=steps,
            batch_norm="none",
            max_loss_rise=max_loss_rise,
            values={},
            provenance={"versions": versions(), **(provenance or {})},
        ),
    )
    drawn = None if episodes is None else draw(episodes, job.about.input, outputs, labelled(loss))
    stages.at("capturing and differentiating", 0.01)
    # Neither the adaptable set nor the values of the weights change what is captured.
    captured = capture(whole, shape, loss, job.loss_args)
    chosen = choose(
        lambda names, precision, programs: _draft(job, names, precision, captured, programs),
        [p for p in PRECISIONS if precision in (p, "auto")],
        job.meta_of,
        candidates(shapes, own) if budgets else {},
        drawn,
        budgets,
        max_drop,
        stages,
    )
    return _finish(job, chosen, drawn, path, onnx, stages)


def _learner(job: Job, module: nn.Module, names: tuple[str, ...]) -> Learner:
    params = {n: p.detach() for n, p in module.named_parameters()}
    masked = [n for n in names if n in job.masks and job.update != "all"]
    moves = {n: job.masks[n] if job.update == "kept" else ~job.masks[n] for n in masked}
    rates = rates_for(job.rule, {n: params[n] for n in names}, job.meta, job.meta_of)
    return Learner(module, job.calibration.shape[1:], names, job.rule, rates, job.loss, moves, job.loss_args)


def _draft(
    job: Job, names: tuple[str, ...], precision: Values, captured: Captured, programs: Programs | None = None
) -> Draft:
    """A bundle that could be written; `programs` where those of another precision are there."""
    module = job.module if precision == "fp32" else copy.deepcopy(job.module)
    # What is proven is what is shipped. After the masks: a kept value that rounds to zero stays kept.
    values = settle(module, job.masks, precision)
    learner = _learner(job, module, names)
    transductive = job.batch_norm == "transductive"
    programs = programs or build(learner, transductive=transductive, captured=captured)
    env = _environment(learner, programs)
    about = replace(job.about, values=values, batch_norm=job.batch_norm or _batch_norm(programs))
    kinds: dict[str, Adaptable] = {n: job.update if n in job.masks else "all" for n in names}
    masks = {n: m.numpy() for n, m in job.masks.items()}
    return Draft(learner, programs, env, *pack(learner, programs, env, masks, kinds, job.calibration, about))


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
    says = "verifying against torch in fp64, and the engine in fp32"
    stages.at(says, 0.05)
    proof = verify(*parts, steps, lambda share: stages.at(says, 0.05 + 0.8 * share))
    if drawn is not None and measured is None:
        (measured,) = measured_drafts([made], drawn, stages)
    stages.at("packing", 0.85)
    manifest = replace(
        made.manifest,
        verification=significant(proof, 3),
        selftest=self_test(*parts, steps),
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
        kept = {n: m.numpy() for n, m in job.masks.items()}
        write_onnx(Path(onnx), made.programs, made.env, manifest, kept)
    stages.at(f"wrote {path}", 1.0)
    return Exported(path, digest, manifest, path.stat().st_size, dense, chosen.record)


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


def _prepared(module: nn.Module) -> nn.Module:
    """A copy as it will be deployed."""
    module = copy.deepcopy(module)
    for layer in module.modules():
        # A device learns from a handful of samples: dropping features at random only adds noise there.
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.p = 0.0
    return module


def _masks(module: nn.Module, masks: Mapping[str, torch.Tensor] | str | None) -> dict[str, torch.Tensor]:
    """Kept positions per masked parameter; the module's pruned weights are checked to be zero."""
    params = {n: p.detach() for n, p in module.named_parameters()}
    if masks is None:
        return {}
    if isinstance(masks, str):
        if masks != "zeros":
            raise UnsupportedError(f"export: masks={masks!r}, expected 'zeros' or a dict of tensors")
        masks = {n: p != 0 for n, p in params.items() if p.ndim > 1 and bool((p == 0).any())}
    for name, mask in masks.items():
        if name not in params or mask.shape != params[name].shape:
            raise UnsupportedError(
                f"export: masks[{name!r}] of shape {tuple(mask.shape)}: no parameter of that name and shape"
            )
        if not bool(mask.any()):
            raise UnsupportedError(f"export: masks[{name!r}] keeps nothing; remove the layer instead")
        if bool((params[name][~mask.bool()] != 0).any()):
            raise UnsupportedError(
                f"export: {name} has pruned weights that are not zero; apply the mask first"
            )
    return {n: m.bool() for n, m in masks.items()}


def _environment(learner: Learner, programs: Programs) -> dict[str, NDArray[Any]]:
    """Every value the programs read, except the samples."""
    tensors = learner.tensors()
    adaptable = {n: tensors[n] for n in learner.adaptable}
    groups: tuple[tuple[str, Mapping[str, torch.Tensor]], ...] = (
        ("", tensors),
        ("meta:", learner.meta),
        ("state:", learner.rule.init(learner.meta, adaptable)),
        ("mask:", learner.moves),
    )
    env = {p + n: t.detach().numpy() for p, group in groups for n, t in group.items()}
    if labelled(learner.loss):
        env["active"] = np.ones(programs.outputs, np.bool_)
    return env


def _batch_norm(programs: Programs) -> BatchNorm:
    if programs.statistics:
        return "support"
    kinds = {op.kind for op in programs.deployed["predict"].ops}
    return "running" if "batch_norm_frozen" in kinds else "none"
