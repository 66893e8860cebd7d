"""Everything a run changes, as one immutable value, and its way into a checkpoint and back, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regrow.checkpoint import Checkpoint
from regrow.errors import BundleError
from regrow_trainer.device import put
from regrow_trainer.outer import Moments
from regrow_trainer.tensors import Tensors, to_arrays, to_tensors


@dataclass(frozen=True)
class Best:
    """The best validation so far; `score` is an accuracy, or minus a loss."""

    score: float
    iteration: int


@dataclass(frozen=True)
class State:
    """A run between two iterations."""

    params: Tensors
    meta: Tensors
    masks: Tensors
    moments: Moments
    rule_moments: Moments
    iteration: int = 0
    best: Best | None = None
    stale: int = 0  # validations since the best one
    skipped: int = 0  # iterations whose meta-gradient was not finite
    history: tuple[dict[str, Any], ...] = field(default=())

    def on(self, device: torch.device) -> State:
        """The same with its tensors on a device; a checkpoint does not know of it."""
        moments = (
            Moments(put(m.first, device), put(m.second, device), m.step)
            for m in (self.moments, self.rule_moments)
        )
        groups = (put(t, device) for t in (self.params, self.meta, self.masks))
        params, meta, masks = groups
        own, rules = moments
        return replace(self, params=params, meta=meta, masks=masks, moments=own, rule_moments=rules)


def fresh(params: Tensors, meta: Tensors, masks: Tensors) -> State:
    """A run that has not begun."""
    return State(params, meta, masks, Moments.zeros(params), Moments.zeros(meta))


def extra_of(state: State) -> dict[str, NDArray[Any]]:
    """The arrays a checkpoint needs beside weights, masks and meta tensors for a run to go on."""
    arrays: dict[str, NDArray[Any]] = {"random": torch.get_rng_state().numpy().copy()}
    for group, moments in (("adam", state.moments), ("rule_adam", state.rule_moments)):
        arrays[f"{group}.step"] = np.array([moments.step], dtype=np.int64)
        for name, array in to_arrays(moments.first).items():
            arrays[f"{group}.first.{name}"] = array
        for name, array in to_arrays(moments.second).items():
            arrays[f"{group}.second.{name}"] = array
    return arrays


def progress_of(state: State) -> dict[str, Any]:
    """The rest of it, as JSON; floats come back as they were."""
    best = None if state.best is None else {"score": state.best.score, "iteration": state.best.iteration}
    return {
        "best": best,
        "stale": state.stale,
        "skipped": state.skipped,
        "history": list(state.history),
    }


def restore(path: str, checkpoint: Checkpoint) -> State:
    """The state in a checkpoint that was written for resuming; torch's generator is set as it was."""
    extra, progress = checkpoint.extra, checkpoint.provenance.get("progress")
    if "random" not in extra or not isinstance(progress, dict):
        raise BundleError(
            f"{path}: holds no optimiser state, expected one; resume from the last.safetensors of a run"
        )
    torch.set_rng_state(torch.from_numpy(np.array(extra["random"], copy=True)))
    best = progress["best"]
    return State(
        to_tensors(checkpoint.params),
        to_tensors(checkpoint.meta),
        to_tensors(checkpoint.masks),
        _moments(extra, "adam", checkpoint.params),
        _moments(extra, "rule_adam", checkpoint.meta),
        checkpoint.iteration,
        None if best is None else Best(best["score"], best["iteration"]),
        progress["stale"],
        progress["skipped"],
        tuple(progress["history"]),
    )


def _moments(extra: dict[str, NDArray[Any]], group: str, names: dict[str, NDArray[Any]]) -> Moments:
    first, second = (
        to_tensors({name: extra[f"{group}.{part}.{name}"] for name in names}) for part in ("first", "second")
    )
    return Moments(first, second, int(extra[f"{group}.step"][0]))
