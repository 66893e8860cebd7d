"""`regrow export`: a checkpoint, or any torch module by its dotted path, to a verified bundle."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from regrow.cli.command import Command, add_force, emit, human_bytes, refuse_overwrite, require, table
from regrow.cli.inspect import simplified_rows, sparse_bytes, sparse_text
from regrow.errors import UnsupportedError
from regrow_exporter.cli_values import head, loss_args, masks, rule_args
from regrow_exporter.stages import Shown, Stages
from regrow_exporter.tables import accuracy, choice_tables, cost_rows

if TYPE_CHECKING:
    from regrow_exporter.measure import Episodes
    from regrow_exporter.pipeline import Exported

SUFFIX = ".regrow"
# Of a torch module or a checkpoint; a bundle is written as C without them.
NEEDS = (("torch", "train"), ("onnx", "train"), ("onnxruntime", "train"), ("safetensors", "train"))


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a checkpoint, or package.module:function that builds an nn.Module; "
                        "with --c alone also a bundle")  # fmt: skip
    parser.add_argument("-o", "--out", help="the bundle to write, e.g. model.regrow")
    parser.add_argument(
        "--steps", type=int, help="adaptation steps on the device (default: the checkpoint's, else 5)"
    )
    parser.add_argument("--update", choices=("kept", "pruned", "all"),
                        help="which positions of a masked tensor may move (default: the checkpoint's, else "
                        "kept)")  # fmt: skip
    parser.add_argument("--precision", default="fp32", metavar="NAME",
                        help="how weights are stored: fp32 (default), fp16, int8 with channel scales, or "
                        "auto, the smallest that keeps to --max-drop")  # fmt: skip
    parser.add_argument("--max-drop", type=float, default=0.5, metavar="POINTS",
                        help="accuracy that --precision auto may cost (default: 0.5)")  # fmt: skip
    parser.add_argument("--budget", action="append", metavar="LIMIT",
                        help="choose the adaptable set under a limit: 64KiB of peak memory for one support "
                        "set, delta:4KiB of a saved delta, or 5ms on this machine; repeatable")  # fmt: skip
    parser.add_argument("--no-simplify", action="store_true",
                        help="keep dead channels, constants and frozen norms as they are")  # fmt: skip
    parser.add_argument("--rule",
                        help="sgd, momentum, adam; prototype, a metric head fitted without a gradient; "
                        "or package.module:function (default: the checkpoint's own, which only a metric one "
                        "can replace, else sgd)")  # fmt: skip
    parser.add_argument("--rule-arg", action="append", metavar="KEY=VALUE", default=[],
                        help="an argument of --rule, e.g. distance=cosine; repeatable")  # fmt: skip
    parser.add_argument("--onnx", metavar="DIR", help="also write predict.onnx, adapt.onnx (frozen weights "
                        "packed, unpacked at load) and manifest.json")  # fmt: skip
    parser.add_argument("--c", metavar="DIR", help="also write C that learns without an operating system: "
                        "the model, the core, a Makefile, an example")  # fmt: skip
    parser.add_argument("--c-samples", type=int, metavar="N", help="support samples that the C learns from "
                        "at a time (default: n-way x k-shot of the episodes, else 5)")  # fmt: skip
    parser.add_argument("--c-plan", choices=["small", "small-fp16"], default="small", help="small-fp16 "
                        "keeps what waits for backward in fp16, in less memory (default: small)")  # fmt: skip
    parser.add_argument(
        "--backbone", metavar="PATH", help="code outside the trainer that the checkpoint may use"
    )
    parser.add_argument("--dynamic", action="store_true", help="take the LSTM of dmsgd or m2sgd along "
                        "(default: freeze the rates, which needs no memory and no LSTM)")  # fmt: skip
    metric = parser.add_argument_group("for a metric head, such as --rule prototype")
    metric.add_argument("--head", metavar="LAYER", default="@head",
                        help="the last layer, which it replaces (default: @head, the one called head, else "
                        "the last); none: the network's output already is the features")  # fmt: skip
    metric.add_argument(
        "--ways", type=int, metavar="N", help="classes it has room for (default: those of the layer)"
    )
    measured = parser.add_argument_group("for accuracy, measured before and after adaptation")
    measured.add_argument("--episodes", metavar="SOURCE",
                          help="glyphs:val, or a file or folder of labelled samples; for a checkpoint "
                          "also validation (the default where a choice needs one) or test")  # fmt: skip
    measured.add_argument("--count", type=int, metavar="N", help="how many episodes (default: 200)")
    measured.add_argument(
        "--n-way", type=int, metavar="N", help="classes of each (default: the recipe's, or all)"
    )
    measured.add_argument("--k-shot", type=int, metavar="N",
                          help="support samples per class (default: the recipe's, or 1)")  # fmt: skip
    measured.add_argument("--queries", type=int, metavar="N", help="query samples per class (default: 15)")
    measured.add_argument("--seed", type=int, metavar="N", help="which episodes (default: 0)")
    module = parser.add_argument_group("for a module of your own")
    module.add_argument("--weights", help="its state dict, a .safetensors file")
    module.add_argument("--example", help="a few real samples, .npy or .npz with x, as the model takes them")
    module.add_argument("--adaptable", action="append", metavar="GLOB",
                        help="what may change: globs, @head, @norm+bias, @last:N, each with rows (output "
                        "channels) at its end where only they move: 'conv.weight[0:16]', '@head[3,5]'; "
                        "repeatable")  # fmt: skip
    module.add_argument("--lr", type=float, default=0.01)
    module.add_argument("--loss", default="cross_entropy",
                        help="cross_entropy, mse, bce, or package.module:function of outputs and class "
                        "numbers (default: cross_entropy)")  # fmt: skip
    module.add_argument("--label-smoothing", type=float, metavar="SHARE",
                        help="of cross_entropy: the share of a label that all classes get")  # fmt: skip
    module.add_argument("--class-weights", metavar="FILE|LIST",
                        help="of cross_entropy: a weight per class, a .npy file or 1,2,1")  # fmt: skip
    module.add_argument("--masks", metavar="zeros|FILE",
                        help="pruned positions: exact zeros of weights, or a .safetensors file of masks by "
                        "parameter name; those of torch.nn.utils.prune are found without it")  # fmt: skip
    add_force(parser)


def _run(args: argparse.Namespace) -> int:
    refuse_overwrite([args.out, args.onnx, args.c], args.force)
    if args.model.endswith(SUFFIX) and args.out is None:
        return _c_of_bundle(args)
    if args.out is None:
        raise UnsupportedError(
            "export: found no -o/--out, expected the bundle to write, e.g. -o model.regrow"
        )
    require("export", NEEDS)
    began = time.monotonic()
    own = ":" in args.model
    with Shown("regrow export") as stages:
        made = _export_module(args, stages) if own else _export_checkpoint(args, stages)
    manifest = made.manifest
    data = {
        "path": str(made.path),
        "digest": made.digest,
        "bytes": made.bytes,
        "dense_onnx_bytes": made.dense_onnx_bytes,
        "sparse": sparse_bytes(manifest.parameters),
        "simplified": manifest.provenance.get("simplified"),
        "parameters": len(manifest.parameters),
        "adaptable": sum(p.adaptable != "none" for p in manifest.parameters),
        "verification": manifest.verification,
        "accuracy": manifest.provenance["accuracy"],
        "choice": made.choice,
        "costs": made.costs,
        "seconds": round(time.monotonic() - began, 2),
    }
    emit(args, data, _text(made))
    return 0


def _c_of_bundle(args: argparse.Namespace) -> int:
    """C from a bundle that was exported before: needs no torch."""
    from regrow_exporter.c_writer import write_c

    if args.c is None:
        raise UnsupportedError(f"export: {args.model} is a bundle already; write it as C with --c DIR")
    made = write_c(args.model, args.c, args.c_samples, args.c_plan)
    data = {"path": args.c, "samples": made.samples, "arena_bytes": made.arena_bytes}
    emit(args, data, f"{args.c}: C that learns from {made.samples} samples in {made.arena_bytes} bytes")
    return 0


def _text(made: Exported) -> str:
    """The tables that were chosen from, then what was written."""
    weights = made.manifest.parameters
    dense, stored = sum(4 * p.size for p in weights), sum(p.bytes for p in weights)
    sparse = sparse_bytes(weights)
    checks: Any = made.manifest.verification
    ratio = f"{made.dense_onnx_bytes / made.bytes:.2f}x the bundle"
    rows = [
        ("bundle", f"{made.path}  {human_bytes(made.bytes)}"),
        ("dense ONNX", f"{human_bytes(made.dense_onnx_bytes)}  ({ratio})"),
        ("weights", f"{human_bytes(stored)} of {human_bytes(dense)} dense"),
        *([("sparse tensors", sparse_text(sparse))] if sparse else []),
        *simplified_rows(made.manifest.provenance),
        ("graph against torch fp64", f"{max(checks['reference'].values()):.1e}"),
    ]
    key, what = ("fit", "fit") if made.manifest.rule.kind == "metric" else ("gradient", "step-1 gradient")
    for name, e in checks["engines"].items():
        lost = e.get("refused") or f"{e[key]:.1e} (torch fp32 loses {e[f'{key}_torch']:.1e})"
        rows.append((f"{name} engine, {what}", lost))
    rows += cost_rows(made.costs, made.manifest.provenance)
    rows.append(("accuracy", accuracy(made.manifest.provenance["accuracy"])))
    return "\n\n".join([*choice_tables(made.choice), table(rows)])


def _episodes(args: argparse.Namespace, default: str | None) -> Episodes | None:
    """The episodes asked for; naming their number or sizes asks for `default`."""
    from regrow_exporter.measure import Episodes

    sizes = {"count": args.count, "n_way": args.n_way, "k_shot": args.k_shot}
    sizes |= {"queries": args.queries, "seed": args.seed}
    given = {name: value for name, value in sizes.items() if value is not None}
    source = args.episodes or (default if given else None)
    if source is None and given:
        option = "--" + next(iter(given)).replace("_", "-")
        raise UnsupportedError(f"export: {option} without --episodes SOURCE; name what to measure on")
    return None if source is None else Episodes(source, **given)


def _export_checkpoint(args: argparse.Namespace, stages: Stages) -> Exported:
    from regrow_exporter import export_checkpoint

    if args.label_smoothing is not None or args.class_weights:
        raise UnsupportedError(
            "export: a checkpoint adapts by the loss it was trained for; set it in the recipe"
        )
    return export_checkpoint(
        args.model,
        args.out,
        rule=args.rule,
        rule_args=rule_args(args.rule_arg),
        head=head(args.head),
        ways=args.ways,
        steps=args.steps,
        update=args.update,
        precision=args.precision,
        max_drop=args.max_drop,
        budget=args.budget or (),
        episodes=_episodes(args, "validation"),
        onnx=args.onnx,
        simplify=not args.no_simplify,
        c=args.c,
        c_samples=args.c_samples,
        c_plan=args.c_plan,
        backbone=args.backbone,
        dynamic=args.dynamic,
        stages=stages,
    )


def _export_module(args: argparse.Namespace, stages: Stages) -> Exported:
    import torch
    from safetensors.torch import load_file

    from regrow.episodes.readers import load_samples
    from regrow_exporter import export
    from regrow_exporter.masks import load_state
    from regrow_exporter.resolve import resolve

    if args.dynamic:
        raise UnsupportedError("export: --dynamic is for a checkpoint; a module takes the rule as it is")
    if not args.example:
        raise UnsupportedError("export: a module needs --example, a few real samples (.npy or .npz with x)")
    module = resolve(args.model, named_by_user=True)()
    if args.weights:
        load_state(module, load_file(args.weights), args.weights)
    return export(
        module,
        torch.from_numpy(load_samples(args.example, labelled=False).x),
        adaptable=args.adaptable or (None if args.budget else ["@head"]),
        rule=args.rule or "sgd",
        rule_args=rule_args(args.rule_arg) or None,
        head=head(args.head),
        ways=args.ways,
        lr=args.lr,
        steps=args.steps or 5,
        loss=args.loss,
        loss_args=loss_args(args),
        masks=masks(args.masks),
        update=args.update or "kept",
        precision=args.precision,
        max_drop=args.max_drop,
        budget=args.budget or (),
        episodes=_episodes(args, None),
        path=args.out,
        onnx=args.onnx,
        simplify=not args.no_simplify,
        c=args.c,
        c_samples=args.c_samples,
        c_plan=args.c_plan,
        stages=stages,
    )


COMMAND = Command(
    "export",
    "differentiate, pack and verify a checkpoint or a torch module",
    _configure,
    _run,
)
