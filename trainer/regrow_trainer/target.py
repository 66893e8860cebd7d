"""`regrow prune --target-bytes`: the smallest sparsity whose bundle fits, found on bundles that were packed.

Size follows the number of kept weights closely, so a few exports without retraining find the share; the one
run that is kept is retrained, exported and checked. Every trial is a command of its own and is remembered.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from regrow.cli.command import emit, human_bytes
from regrow.demo.steps import Step, digest, run_all
from regrow.errors import BudgetError, RegrowError
from regrow_trainer.sweep import anew, prune_words

BUNDLE = "pruned.regrow"
_MOST = 0.995  # of the weights; what is left then is biases, norms, head and programs
_FIRST = 0.5
_STEP = 0.001
_TRIES = 3


def run(args: argparse.Namespace) -> int:
    """Find the share, prune with it for good, export."""
    limit, out = args.target_bytes, args.out
    bundle: Path = out / BUNDLE
    if bundle.exists() and not (args.resume or args.force):
        raise RegrowError(
            f"{bundle}: exists already, expected a new folder; add --resume to go on, --force to replace it, "
            "or choose another -o"
        )
    if args.force:
        anew(out)
    trial = argparse.Namespace(**{**vars(args), "retrain": 0, "schedule": "oneshot", "rewind": False})
    share = find(lambda part: _size(trial, part, out / "trials" / f"{part:.6f}"), limit)
    for _ in range(_TRIES):
        size = _size(args, share, out / "run", bundle)
        if size <= limit:
            break
        # Other masks than those of the trials pack a little differently.
        share = min(_MOST, share + max(_STEP, (size - limit) / size * (1 - share)))
    else:
        raise BudgetError(
            f"{bundle}: {size} bytes after retraining, expected at most {limit}; give a larger size, or "
            "--schedule oneshot, whose masks do not move"
        )
    data = {"run": str(out / "run"), "bundle": str(bundle), "bytes": size, "limit": limit, "sparsity": share}
    told = f"{bundle}: {human_bytes(size)} of {human_bytes(limit)}, {share:.2%} of the weights pruned"
    emit(args, data, told)
    return 0


def find(size: Callable[[float], int], limit: int) -> float:
    """The smallest share whose size is within the limit, to a tenth of a percent, by false position."""
    low, high = 0.0, _FIRST
    over = size(low)
    if over <= limit:
        return 0.0
    under = size(high)
    while under > limit:
        if high == _MOST:
            raise BudgetError(
                f"prune: --target-bytes {limit}: {under} bytes with {_MOST:.1%} of the weights gone, "
                "expected a size above that; give a larger one, a narrower backbone, or --channels"
            )
        # On along the line and a quarter of what then remains: nearly empty networks are tried last, since
        # they may not export at all.
        line = low + (high - low) * (over - limit) / max(over - under, 1)
        low, over, high = high, under, min(_MOST, line + (1 - min(line, 1.0)) / 4)
        under = size(high)
    while high - low > _STEP:
        guess = low + (high - low) * (over - limit) / (over - under)
        # Never at an end, which would not move.
        guess = min(max(guess + _STEP / 4, low + _STEP / 2), high - _STEP / 2)
        made = size(guess)
        if made <= limit:
            high, under = guess, made
            # What fits with a little room to spare is as good as the line can tell.
            if limit - made < 0.002 * limit:
                break
        else:
            low, over = guess, made
    return high


def _size(args: argparse.Namespace, share: float, run: Path, bundle: Path | None = None) -> int:
    """Prune and export, unless that was done before; the bytes of the bundle."""
    made = bundle or run.with_name(f"{run.name}.regrow")
    best, last = str(run / "best.safetensors"), str(run / "last.safetensors")
    label = f"{'final' if bundle else 'trial'}-{share:.6f}"
    steps = [
        Step(f"{label}-prune", f"Prune {share:.2%}", prune_words(args, share, str(run)), (str(run),),
             resumes=last),
        Step(f"{label}-export", "Export", ("export", best, "-o", str(made)), (str(made),)),
    ]  # fmt: skip
    run_all(steps, digest([Path(args.checkpoint)]), args.out, sys.stderr)
    return made.stat().st_size
