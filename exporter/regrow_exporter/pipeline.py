"""The front door: a torch module or a checkpoint in, a verified bundle out."""

import copy
import os
from collections.abc import Callable, Mapping, Sequence
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
from regrow.values import Values
from regrow_exporter.budget import candidates, parse_budget
from regrow_exporter.capture import NO_ARGS, Captured, labelled, loss_function, loss_options
from regrow_exporter.choose import Chosen, check_open, choose, measured_drafts, stated
from regrow_exporter.costs import counted
from regrow_exporter.draft import Draft
from regrow_exporter.learners import Moving, check_head, fitting, is_metric, make_rule, stepping
from regrow_exporter.masks import merged
from regrow_exporter.measure import Drawn, Episodes, draw
from regrow_exporter.metric import HEAD
from regrow_exporter.onnx_writer import write_single
from regrow_exporter.pack import Description, pack, self_test, significant, versions
from regrow_exporter.precision import PRECISIONS, settle
from regrow_exporter.prepare import prepared
from regrow_exporter.programs import Learner, Programs, build, capture, width
from regrow_exporter.stages import Silent, Stages
from regrow_exporter.verify import verify
from regrow_exporter.verify_fit import verify_fit
from regrow_exporter.write import write_checked, write_onnx

# A manifest holds finite numbers only; no loss in fp32 rises by more.
UNBOUNDED = float(np.finfo(np.float32).max)
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
    costs: dict[str, dict[str, int]]  # of a step of the rule, and of regrowing what was pruned


@dataclass(frozen=True, eq=False)
class Job:
    """What all drafts of one export share."""

    module: nn.Module  # dropout off, weights not rounded, a metric head in its place
    moving: Moving
    loss: str
    loss_args: dict[str, Any]
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
    head: str | None = HEAD,
    ways: int | None = None,
    meta: Mapping[str, torch.Tensor] | None = None,
    input: InputSpec | None = None,
    labels: Sequence[str] | None = None,
    batch_norm: BatchNorm | None = None,
    max_loss_rise: float | None = None,
    provenance: Mapping[str, Any] | None = None,
    stages: Stages | None = None,
) -> Exported:
    """Differentiate `module` ahead of time and write a verified bundle.

    `example` is a batch of real samples: its shape is the model's input, and where the network normalises by
    batch statistics, theirs are what a session predicts with before its first adaptation. Masks are taken
    from the module's `torch.nn.utils.prune` hooks and from `masks`: a dict, or "zeros" for exact zeros.

    With `episodes` the accuracy before and after adaptation is measured and stated in the manifest. Then
    `precision="auto"` takes the smallest that drops at most `max_drop` accuracy points, and `budget` ("64KiB"
    of peak memory, "delta:4KiB", "5ms"; one or several) the adaptable set that fits and gains most per byte.
    `adaptable` is ["head.*"] unless given; under a budget it is one more candidate.

    A metric rule such as `prototype` is fitted in one step without a gradient. Its head takes the place of
    the layer `head` (None: the network's output already is the features) and has room for `ways` classes
    (unless given, the layer's own outputs); `adaptable`, `lr`, `steps` and `update` do not concern it, and
    there is no `budget` to choose it by. `max_loss_rise` is 1 unless given; a fit, which cannot run away, is
    not held to any.
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
        moving = stepping(whole, made_rule, steps, own, meta, kept, update)
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
    )
    drawn = None if episodes is None else draw(episodes, job.about.input, outputs, labelled(loss))
    stages.at("capturing and differentiating", 0.01)
    # Neither the adaptable set nor the values of the weights change what is captured.
    captured = capture(whole, shape, loss, job.loss_args, moving.head)
    shapes = {n: tuple(p.shape) for n, p in whole.named_parameters()}
    chosen = choose(
        lambda names, precision, programs: _draft(job, names, precision, captured, programs),
        [p for p in PRECISIONS if precision in (p, "auto")],
        moving.names,
        candidates(shapes, own) if budgets else {},
        drawn,
        budgets,
        max_drop,
        stages,
    )
    return _finish(job, chosen, drawn, path, onnx, stages)


def _draft(
    job: Job, names: tuple[str, ...], precision: Values, captured: Captured, programs: Programs | None = None
) -> Draft:
    """A bundle that could be written; `programs` where those of another precision are there."""
    module, moving = job.module if precision == "fp32" else copy.deepcopy(job.module), job.moving
    # What is proven is what is shipped. After the masks: a kept value that rounds to zero stays kept.
    values = settle(module, moving.masks, precision, moving.exact)
    learner = moving.learner(module, job.calibration.shape[1:], names, job.loss, job.loss_args)
    transductive = job.batch_norm == "transductive"
    programs = programs or build(learner, transductive=transductive, captured=captured)
    env = _environment(learner, programs)
    about = replace(job.about, values=values, batch_norm=job.batch_norm or _batch_norm(programs))
    masks = {n: m.numpy() for n, m in moving.masks.items()}
    made = pack(learner, programs, env, masks, moving.kinds(names), job.calibration, about)
    return Draft(learner, programs, env, *made)


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
    told: Callable[[float], None] = lambda share: stages.at(says, 0.05 + 0.8 * share)  # noqa: E731
    proof = verify_fit(*parts, told) if made.learner.head else verify(*parts, steps, told)
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
        kept = {n: m.numpy() for n, m in job.moving.masks.items()}
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
    # The state of a fit is the programs' own, and unread before the first one.
    for program in programs.deployed.values():
        made = {n: v for n, v in program.values.items() if v.role == "state" and n not in env}
        env |= {n: np.zeros(value.shape, value.dtype) for n, value in made.items()}
    if labelled(learner.loss):
        env["active"] = np.ones(programs.outputs, np.bool_)
    return env


def _batch_norm(programs: Programs) -> BatchNorm:
    if programs.statistics:
        return "support"
    kinds = {op.kind for op in programs.deployed["predict"].ops}
    return "running" if "batch_norm_frozen" in kinds else "none"
