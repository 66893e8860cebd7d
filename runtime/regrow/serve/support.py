"""The samples of a session: judged when they come, really gone when they are deleted."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.serve import inputs, learning, records
from regrow.serve.core import Core
from regrow.serve.live import Live, missing
from regrow.serve.problems import ProblemError, limit
from regrow.serve.records import SampleRow
from regrow.serve.store import is_full

Array = NDArray[Any]

PART = 2**19  # bytes deleted at once on a full disk


def add(
    core: Core, owner: str, id: str, label: str, x: Array, *, held_back: bool, allow_blank: bool
) -> list[SampleRow]:
    """Store judged samples under one label; all of them or none."""
    live, now = core.live.get(owner, id), time.time()
    check_label(live, label)
    if not allow_blank and any(inputs.is_blank(one) for one in x):
        raise ProblemError(
            "blank-sample",
            "sample: every value is the same, expected something to learn from; draw or record it again",
        )
    own = x if x.dtype == np.uint8 else x.astype(np.float32)
    made = []
    with core.store.transaction() as db:
        have = records.sample_count(db, id)
        if have + len(own) > core.limits.samples:
            raise limit("samples of a session", have + len(own), core.limits.samples, "delete some first")
        for one in own:
            packed = inputs.pack(one)
            digest = hashlib.sha256(packed).hexdigest()
            _refuse_contradiction(records.label_of(db, id, digest), label)
            row = SampleRow(0, label, held_back, now)
            made.append(replace(row, id=records.add_sample(db, id, row, digest, packed)))
        records.touch(db, id, now)
    return made


def check_label(live: Live, label: str) -> None:
    """Refuse a label that cannot be one of this model."""
    made = live.model.manifest
    if made.task == "regression":
        learning.target(label, int(np.prod(made.output.shape)))
    elif made.output.labels is not None and label not in made.output.labels:
        raise ProblemError(
            "bad-sample",
            f"label: {label!r} is no class of this model, expected one of "
            f"{', '.join(made.output.labels)[:300]}; choose one",
        )


def one(core: Core, owner: str, id: str, number: int) -> tuple[Live, Array]:
    """The numbers of one stored sample."""
    live = core.live.get(owner, id)
    with core.store.reading() as db:
        found = records.sample(db, id, number)
    if found is None:
        raise missing("sample", number)
    return live, inputs.unpack(found)


def hold_back(core: Core, owner: str, id: str, number: int, held_back: bool) -> None:
    """Keep a sample for checking, or learn from it."""
    core.live.get(owner, id)
    with core.store.transaction() as db:
        if not records.hold_back(db, id, number, held_back):
            raise missing("sample", number)


def erase(core: Core, owner: str, id: str, number: int | None, label: str | None) -> bool:
    """Really delete samples: all, of one class, or one; False while a backup still reads the log."""
    core.live.get(owner, id)
    if number is None:
        clear(core, id, label, lambda db: records.drop_samples(db, id, None, label))
    elif not core.store.erase(lambda db: records.drop_samples(db, id, number)):
        raise missing("sample", number)
    return core.store.settle()


def clear(core: Core, id: str, label: str | None, act: Callable[[sqlite3.Connection], object]) -> None:
    """Delete all samples of a session (or of a class) with `act`, which does it in one transaction.

    On a full disk, whose log has no room for all of them at once, small transactions go before it.
    """
    try:
        core.store.erase(act)
    except sqlite3.OperationalError as error:
        if not is_full(error):
            raise
        while core.store.erase(lambda db: records.drop_some(db, id, label, PART)):
            pass
        core.store.erase(act)


def _refuse_contradiction(before: str | None, label: str) -> None:
    if before is not None and before != label:
        raise ProblemError(
            "contradiction",
            f"sample: the very same one was given as {before!r} before, now as {label!r}; keep one of "
            "the two",
        )
