"""What is written for one adaptable set in one precision, before it is proven."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from regrow.manifest import BatchNorm
from regrow.values import Values
from regrow_exporter.capture import Captured, labelled
from regrow_exporter.draft import Draft
from regrow_exporter.given import Given
from regrow_exporter.learners import Moving
from regrow_exporter.pack import Description, pack
from regrow_exporter.precision import settle, stored
from regrow_exporter.programs import Learner, Programs, build


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
    simplify: bool = True


def drafted(
    job: Job, names: tuple[str, ...], precision: Values, captured: Captured, programs: Programs | None = None
) -> Draft:
    """A bundle that could be written; `programs` where those of another precision are there."""
    module, moving = job.module if precision == "fp32" else copy.deepcopy(job.module), job.moving
    whole = _learner(job, job.module, names)
    transductive = job.batch_norm == "transductive"
    programs = programs or build(whole, transductive=transductive, captured=captured, simplified=job.simplify)
    # What is proven is what is shipped. After the masks: a kept value that rounds to zero stays kept. After
    # the simplification: the scales of int8 are those of the rows that are left.
    values = settle(module, moving.masks, precision, moving.exact)
    masks = programs.simplified.masks({n: m.numpy() for n, m in moving.masks.items()})
    changed, how = stored(programs.simplified.tensors, masks, precision)
    learner = whole if module is job.module else _learner(job, module, names)
    env = environment(learner, programs) | changed
    record = programs.simplified.record
    about = replace(
        job.about,
        values=values | how,
        batch_norm=job.batch_norm or _batch_norm(programs),
        provenance=job.about.provenance | ({"simplified": record} if record else {}),
    )
    made = pack(learner, programs, env, masks, moving.kinds(names), job.calibration, about)
    return Draft(learner, programs, env, *made)


def given(job: Job, draft: Draft) -> Given | None:
    """The network as it was given: what a simplified draft is proven against. None: as it is in the draft."""
    if not draft.programs.simplified.record:
        return None
    learner = _learner(job, job.module, draft.learner.adaptable)
    tensors = {**environment(learner, draft.programs), **draft.programs.simplified.tensors}
    return Given(learner, tensors)


def environment(learner: Learner, programs: Programs) -> dict[str, NDArray[Any]]:
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


def _learner(job: Job, module: nn.Module, names: tuple[str, ...]) -> Learner:
    return job.moving.learner(module, job.calibration.shape[1:], names, job.loss, job.loss_args)


def _batch_norm(programs: Programs) -> BatchNorm:
    if programs.statistics:
        return "support"
    kinds = {op.kind for op in programs.deployed["predict"].ops}
    folded = programs.simplified.record.get("norms")
    return "running" if folded or "batch_norm_frozen" in kinds else "none"
