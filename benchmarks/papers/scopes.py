"""What a device may move of a pruned network, and how well that goes.

The rate and the number of steps are chosen on validation classes, for every scope on its own: the paper of
Meta-LTH prints two different rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.papers.measure import scored
from benchmarks.papers.table import Measured, Preset
from benchmarks.papers.work import Work
from regrow.checkpoint import Checkpoint, Update
from regrow_trainer.rundir import RunDir

RATES = (0.01, 0.1, 0.4)
VALIDATION = 100  # episodes a rate is chosen on

# What the device moves -> patterns of parameters ("weights": those that were pruned), and which positions.
SCOPES: dict[str, tuple[tuple[str, ...], Update]] = {
    "kept": (("*",), "kept"),
    "kept weights alone": (("weights",), "kept"),
    "head alone": (("@head",), "kept"),
    "strict": (("weights",), "pruned"),
    "plus_head": (("weights", "@head"), "pruned"),
    "plus_unmasked": (("*",), "pruned"),
    "all": (("*",), "kept"),  # with no mask at all
}
TOLD = {
    "kept": "what was trained (kept)",
    "kept weights alone": "kept convolution weights alone",
    "head alone": "head alone",
    "strict": "pruned weights alone (strict)",
    "plus_head": "pruned weights and head (plus_head)",
    "plus_unmasked": "pruned weights and all unmasked (plus_unmasked)",
    "all": "everything",
}


def device(made: Checkpoint, scope: str, rate: float, batch_norm: str = "") -> Checkpoint:
    """The same network under another rule of the device."""
    words, update = SCOPES[scope]
    patterns = tuple(name for w in words for name in (made.masks if w == "weights" else (w,)))
    learner = made.recipe["learner"]
    recipe: dict[str, Any] = {
        **made.recipe,
        "rule": {**made.recipe["rule"], "args": {"lr": rate}},
        "learner": {**learner, "batch_norm": batch_norm or learner["batch_norm"]},
    }
    masks = {} if scope == "all" else made.masks
    # The rate is a tensor of the checkpoint; it is made anew from the recipe's.
    meta = {"lr": made.meta["lr"] * 0 + rate}
    return replace(made, adaptable=patterns, update=update, masks=masks, recipe=recipe, meta=meta)


def measured(
    work: Work, run: RunDir, preset: Preset, scope: str, steps: Sequence[int], batch_norm: str = "",
    test: Mapping[str, Any] | None = None,
) -> Measured:  # fmt: skip
    """Test scores at the rate and the number of steps that are best on validation classes.

    `test` are arguments of the test source, where they are others than those of the recipe.
    """
    made, every = work.last(run), range(max(steps) + 1)
    tried = {
        rate: scored(device(made, scope, rate, batch_norm), VALIDATION, every, "validation", work.workers)
        for rate in RATES
    }
    # The curves are those of validation episodes: the test episodes are scored once, at what was chosen.
    rate, most = max(
        ((r, n) for r in RATES for n in steps), key=lambda choice: tried[choice[0]][choice[1]].mean
    )
    chosen = device(made, scope, rate, batch_norm)
    if test is not None:
        chosen = replace(
            chosen, recipe={**chosen.recipe, "data": {**chosen.recipe["data"], "args": dict(test)}}
        )
    found = scored(chosen, preset.episodes, (most,), workers=work.workers)
    return Measured(
        found[most],
        {
            "rate": rate,
            "steps": most,
            "validation": {f"{r:g} x {n}": tried[r][n].mean for r in RATES for n in steps},
        },
        [(n, e.mean) for n, e in tried[rate].items()],
    )
