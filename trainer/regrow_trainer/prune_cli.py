"""`regrow prune`: one sparsity, a sweep over several, or the sparsity that meets a size."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.cli.command import Command, byte_count, human_bytes, table
from regrow.errors import RegrowError
from regrow_trainer.run_cli import TORCH, natural, options, positive, run, run_options

if TYPE_CHECKING:
    from regrow.checkpoint import Checkpoint
    from regrow_trainer.recipe import Recipe
    from regrow_trainer.rundir import RunDir

SPARSITY = 0.85
# Methods that are more than a score, as the keys of a recipe's [prune].
PRESETS: dict[str, dict[str, Any]] = {
    "meta-lth": {"pruner": "magnitude", "rewind": True, "device": "plus_head"},
}
SCOPES = ("kept", "strict", "plus_head", "plus_unmasked")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="trained checkpoint, e.g. RUN/best.safetensors")
    parser.add_argument(
        "--method",
        "--pruner",
        default="magnitude",
        metavar="NAME",
        help="random, magnitude (default), lamp, fisher, taylor, l-obs, anp, m2sgd, meta-lth; mmsup or bmp "
        "for a checkpoint that learned its own subnetwork; or package.module:function",
    )
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="RUN", help="folder of the run")
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument(
        "--sparsity", type=float, help=f"share of the weights to remove ({SPARSITY}); no layer is emptied"
    )
    how_much.add_argument(
        "--sweep", metavar="LIST", help="several shares, e.g. 0.3,0.5,0.8: prune, export and measure each"
    )
    how_much.add_argument(
        "--target-bytes", type=byte_count, metavar="SIZE", help="find the share whose bundle fits, e.g. 64KiB"
    )
    parser.add_argument("--channels", action="store_true", help="remove whole channels: a smaller network")
    parser.add_argument("--scope", choices=("layer", "global"), default="layer", help="where weights compete")
    parser.add_argument("--schedule", default="oneshot", help="oneshot, or iterative:0.1 (share per round)")
    parser.add_argument(
        "--retrain",
        type=natural,
        default=0,
        metavar="N",
        help="meta-iterations after pruning, over all rounds",
    )
    parser.add_argument(
        "--rewind", action="store_true", help="go back to the weights before any training (meta-lth does)"
    )
    parser.add_argument(
        "--device-scope",
        choices=SCOPES,
        help="what the device moves: kept positions, or the pruned ones alone (strict), with the head "
        "(meta-lth), or with all that is not masked",
    )
    run_options(parser)
    measured = parser.add_argument_group("for --sweep")
    measured.add_argument("--episodes", type=positive, default=300, help="paired test episodes (300)")
    measured.add_argument("--queries", type=positive, default=15, help="query samples per class (15)")
    measured.add_argument("--repeat", type=positive, default=20, help="timed adaptations (20)")


def _run(args: argparse.Namespace) -> int:
    if args.sweep is not None or args.target_bytes is not None:
        from regrow_trainer import sweep, target

        _check_many(args)
        chosen: Callable[[argparse.Namespace], int] = target.run if args.sweep is None else sweep.run
        return chosen(args)
    return _prune(args)


def _prune(args: argparse.Namespace) -> int:
    from regrow_trainer.training import train

    recipe, start = _begin(args)

    def made() -> RunDir:
        return train(recipe, args.out, start=start, label="prune", **options(args, recipe))

    return run(args, made, _told)


def _begin(args: argparse.Namespace) -> tuple[Recipe, Checkpoint | None]:
    """The recipe to run and the checkpoint it begins with."""
    from regrow import checkpoint
    from regrow_trainer.recipe import Prune, parse_recipe
    from regrow_trainer.rundir import RunDir
    from regrow_trainer.subnets import SUBNETS

    start = checkpoint.read(args.checkpoint)
    plan = _plan(args)
    training = {**start.recipe.get("train", {}), "iterations": args.retrain}
    asked = {**start.recipe, "prune": plan, "train": training}
    recipe = parse_recipe(asked, args.checkpoint, args.set)
    if args.method not in SUBNETS and not args.channels:
        return recipe, start
    if args.resume:
        # What the weights began with is settled; doing it again takes its time and changes nothing.
        saved = checkpoint.read(RunDir(args.out).last)
        return parse_recipe(saved.recipe, str(args.out)), None
    _check_alone(args)
    if args.method in SUBNETS:
        smaller = SUBNETS[args.method](start, args.checkpoint, args.workers)
    else:
        from regrow_trainer.structured import narrowed

        wanted = Prune.model_validate(recipe.prune)
        smaller = narrowed(start, wanted, args.checkpoint, args.workers)
    data = {k: v for k, v in recipe.model_dump(mode="json", exclude_none=True).items() if k != "prune"}
    own = {k: smaller.recipe[k] for k in ("backbone", "rule", "learner")}
    held = {"rule_lr": smaller.recipe["train"]["rule_lr"]}
    return parse_recipe({**data, **own, "train": {**data["train"], **held}}, args.checkpoint), smaller


def _plan(args: argparse.Namespace) -> dict[str, Any]:
    """The keys of a recipe's [prune]."""
    from regrow_trainer.subnets import SUBNETS

    method = "magnitude" if args.method in SUBNETS else args.method
    plan = {
        "pruner": method,
        "sparsity": SPARSITY if args.sparsity is None else args.sparsity,
        "scope": args.scope,
        "schedule": args.schedule,
        **PRESETS.get(method, {}),
    }
    if args.rewind:
        plan["rewind"] = True
    if args.device_scope is not None:
        plan["device"] = args.device_scope
    return plan


def _check_alone(args: argparse.Namespace) -> None:
    from regrow_trainer.subnets import SUBNETS

    if args.method not in SUBNETS:
        return
    given = {"--sparsity": args.sparsity, "--channels": args.channels, "--rewind": args.rewind,
             "--device-scope": args.device_scope}  # fmt: skip
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise RegrowError(
            f"prune: --method {args.method} with {', '.join(wrong)}, expected neither: what stays was "
            "learned; prune what comes of it in a second step"
        )


def _check_many(args: argparse.Namespace) -> None:
    """What would only be refused at the second point of a sweep, when the first has trained for an hour."""
    from regrow_trainer.pruners import pruner
    from regrow_trainer.recipe import Prune
    from regrow_trainer.structured import check_plan
    from regrow_trainer.subnets import SUBNETS

    if args.method in SUBNETS:
        raise RegrowError(
            f"prune: --method {args.method} with --sweep or --target-bytes, expected neither: what stays was "
            "learned; prune what comes of it in a second step"
        )
    recipe, _ = _begin(argparse.Namespace(**{**vars(args), "channels": False}))
    plan = recipe.prune or Prune(**_plan(args))
    pruner(plan.pruner, plan.args)
    if args.channels:
        check_plan(plan)


def _told(run: RunDir, made: Checkpoint) -> tuple[dict[str, Any], str]:
    """What was removed, what judging took, and both as text."""
    from regrow_trainer import metrics
    from regrow_trainer.pruning import layers
    from regrow_trainer.tensors import to_tensors

    rounds = [r for r in metrics.read(run.metrics) if r["kind"] == "prune"]
    found = layers(to_tensors(made.masks))
    channels = made.provenance["origin"].get("channels")
    data = {
        "layers": found,
        "rounds": len(rounds),
        "pruning_seconds": sum(r["seconds"] for r in rounds),
        "held_bytes": max((r["held_bytes"] for r in rounds), default=0),
        **({"channels": channels} if channels else {}),
    }
    rows = [["", "kept", "of", "", "dead outputs", "dead inputs"]]
    rows += [
        [r["name"], f"{r['kept']}", f"{r['weights']}", f"{r['kept'] / r['weights']:.1%}",
         f"{r['dead_outputs']} of {r['outputs']}", f"{r['dead_inputs']} of {r['inputs']}"]
        for r in found
    ]  # fmt: skip
    lines = [table(rows, right=range(1, 6))] if found else []
    if channels:
        rows = [[g["name"], f"{g['kept']}", f"of {g['channels']} channels"] for g in channels["groups"]]
        lines.append(table(rows, right=(1,)))
        lines.append(f"{channels['sparsity']:.1%} of the weights are gone with their channels")
    if not found and not channels:
        data["adaptable"] = list(made.adaptable)
        lines.append(f"nothing is gone; a device moves {', '.join(made.adaptable)}")
    if rounds:
        lines.append(
            f"judged in {len(rounds)} round{'s' * (len(rounds) > 1)}, {data['pruning_seconds']:.1f} s, with "
            f"{human_bytes(data['held_bytes'])} of state beside the weights"
        )
    return data, "\n".join(lines)


prune = Command("prune", "remove weights of a checkpoint and retrain the rest", _configure, _run, TORCH)
