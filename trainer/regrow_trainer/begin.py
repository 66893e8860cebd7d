"""What a run begins with: nothing, another run's weights, or its own state as it was interrupted."""

from __future__ import annotations

from typing import Any

from regrow import checkpoint
from regrow.checkpoint import Checkpoint
from regrow.errors import RegrowError
from regrow_trainer.build import Built
from regrow_trainer.rundir import RunDir
from regrow_trainer.state import State, fresh, restore
from regrow_trainer.tensors import to_tensors


def begin(built: Built, start: Checkpoint | None) -> tuple[State, dict[str, Any]]:
    """The first state, and where its weights come from."""
    state = built.start()
    if start is None:
        return state, {}
    params = to_tensors(start.params)
    want = {n: tuple(p.shape) for n, p in state.params.items()}
    found = {n: tuple(p.shape) for n, p in params.items()}
    if want != found:
        wrong = sorted(set(want.items()) ^ set(found.items()))[0][0]
        raise RegrowError(
            f"start: the checkpoint's parameter {wrong!r} is {found.get(wrong, 'missing')}, expected "
            f"{want.get(wrong, 'none of that name')}; use the recipe it was trained with"
        )
    before = start.provenance.get("meta_iterations", start.iteration)
    origin = {"recipe": start.provenance.get("recipe", ""), "meta_iterations": before}
    # Rates that were learned go with the weights, unless this recipe gives the rule other arguments.
    meta = to_tensors(start.meta) if start.rule == built.rule else built.meta(params)
    return fresh(params, meta, to_tensors(start.masks)), origin


def take_up(built: Built, run: RunDir) -> tuple[State, dict[str, Any]]:
    """The state in a run's folder, which the same recipe wrote."""
    saved = checkpoint.read(run.last)
    if saved.recipe != built.recipe.model_dump(mode="json", exclude_none=True):
        raise RegrowError(
            f"{run.last}: was written by another recipe than this one, expected the same; "
            "resume with the recipe and --set options it began with, or choose another -o"
        )
    return restore(str(run.last), saved), saved.provenance["origin"]
