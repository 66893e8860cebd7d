"""`regrow export`: a checkpoint, or any torch module by its dotted path, to a verified bundle."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from regrow.cli.command import Command, add_force, emit, human_bytes, refuse_overwrite, table
from regrow.errors import UnsupportedError


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a checkpoint, or package.module:function that builds an nn.Module")
    parser.add_argument("-o", "--out", required=True, help="the bundle to write, e.g. model.regrow")
    parser.add_argument(
        "--steps", type=int, help="adaptation steps on the device (default: the checkpoint's, else 5)"
    )
    parser.add_argument("--update", choices=("kept", "pruned", "all"), default="kept",
                        help="which positions of a masked tensor may move (default: kept)")  # fmt: skip
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp32", help="stored weight values")
    parser.add_argument("--rule",
                        help="sgd, momentum, adam; prototype, a metric head fitted without a gradient; "
                        "or package.module:function (default: the checkpoint's own, which only a metric one "
                        "can replace, else sgd)")  # fmt: skip
    parser.add_argument("--rule-arg", action="append", metavar="KEY=VALUE", default=[],
                        help="an argument of --rule, e.g. distance=cosine; repeatable")  # fmt: skip
    parser.add_argument("--onnx", metavar="DIR", help="also write predict.onnx, adapt.onnx, manifest.json")
    parser.add_argument(
        "--backbone", metavar="PATH", help="code outside the trainer that the checkpoint may use"
    )
    metric = parser.add_argument_group("for a metric head, such as --rule prototype")
    metric.add_argument("--head", metavar="LAYER", default="@head",
                        help="the last layer, which it replaces (default: @head, the one called head, else "
                        "the last); none: the network's output already is the features")  # fmt: skip
    metric.add_argument(
        "--ways", type=int, metavar="N", help="classes it has room for (default: those of the layer)"
    )
    module = parser.add_argument_group("for a module of your own")
    module.add_argument("--weights", help="its state dict, a .safetensors file")
    module.add_argument("--example", help="a few real samples, .npy or .npz with x, as the model takes them")
    module.add_argument("--adaptable", action="append", metavar="GLOB",
                        help="what may change: globs, @head, @norm+bias, @last:N; repeatable")  # fmt: skip
    module.add_argument("--lr", type=float, default=0.01)
    module.add_argument("--loss", default="cross_entropy",
                        help="cross_entropy, mse, bce, or package.module:function of outputs and class "
                        "numbers (default: cross_entropy)")  # fmt: skip
    module.add_argument("--masks", choices=("zeros",), help="take exact zeros of weights as pruned")
    add_force(parser)


def _run(args: argparse.Namespace) -> int:
    refuse_overwrite([args.out, args.onnx], args.force)
    began = time.monotonic()

    def report(line: str) -> None:
        sys.stderr.write(f"regrow export: {time.monotonic() - began:6.1f} s  {line}\n")

    made = _export_module(args, report) if ":" in args.model else _export_checkpoint(args, report)
    report(f"wrote {made.path}")
    manifest = made.manifest
    dense = sum(4 * p.size for p in manifest.parameters)
    data = {
        "path": str(made.path),
        "digest": made.digest,
        "bytes": made.bytes,
        "dense_onnx_bytes": made.dense_onnx_bytes,
        "parameters": len(manifest.parameters),
        "adaptable": sum(p.adaptable != "none" for p in manifest.parameters),
        "verification": manifest.verification,
        "seconds": round(time.monotonic() - began, 2),
    }
    checks: Any = manifest.verification
    key, what = ("fit", "fit") if manifest.rule.kind == "metric" else ("gradient", "step-1 gradient")
    rows = [
        ("bundle", f"{made.path}  {human_bytes(made.bytes)}"),
        (
            "dense ONNX",
            f"{human_bytes(made.dense_onnx_bytes)}  ({made.dense_onnx_bytes / made.bytes:.2f}x the bundle)",
        ),
        (
            "weights",
            f"{human_bytes(sum(p.bytes for p in manifest.parameters))} of {human_bytes(dense)} dense",
        ),
        ("graph against torch fp64", f"{max(checks['reference'].values()):.1e}"),
        *(
            (f"{name} engine, {what}", f"{e[key]:.1e} (torch fp32 loses {e[f'{key}_torch']:.1e})")
            for name, e in checks["engines"].items()
        ),
        ("accuracy", "not measured: no episodes were given"),
    ]
    emit(args, data, table(rows))
    return 0


def _export_checkpoint(args: argparse.Namespace, report: Any) -> Any:
    from regrow_exporter import export_checkpoint

    return export_checkpoint(
        args.model,
        args.out,
        rule=args.rule,
        rule_args=_rule_args(args.rule_arg),
        head=_head(args.head),
        ways=args.ways,
        steps=args.steps,
        update=args.update,
        precision=args.precision,
        onnx=args.onnx,
        backbone=args.backbone,
        report=report,
    )


def _export_module(args: argparse.Namespace, report: Any) -> Any:
    import torch
    from safetensors.torch import load_file

    from regrow.episodes.readers import load_samples
    from regrow_exporter import export
    from regrow_exporter.resolve import resolve

    if not args.example:
        raise UnsupportedError("export: a module needs --example, a few real samples (.npy or .npz with x)")
    module = resolve(args.model, named_by_user=True)()
    if args.weights:
        module.load_state_dict(load_file(args.weights))
    return export(
        module,
        torch.from_numpy(load_samples(args.example, labelled=False).x),
        adaptable=args.adaptable or ["@head"],
        rule=args.rule or "sgd",
        rule_args=_rule_args(args.rule_arg) or None,
        head=_head(args.head),
        ways=args.ways,
        lr=args.lr,
        steps=args.steps or 5,
        loss=args.loss,
        masks=args.masks,
        update=args.update,
        precision=args.precision,
        path=args.out,
        onnx=args.onnx,
        report=report,
    )


def _head(text: str) -> str | None:
    return None if text == "none" else text


def _rule_args(pairs: list[str]) -> dict[str, Any]:
    """Numbers and truth values as JSON spells them; anything else is text."""
    made: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UnsupportedError(f"--rule-arg {pair!r}: expected KEY=VALUE, e.g. distance=cosine")
        try:
            made[key] = json.loads(value)
        except ValueError:
            made[key] = value
    return made


COMMAND = Command(
    "export",
    "differentiate, pack and verify a checkpoint or a torch module",
    _configure,
    _run,
    needs=(("torch", "train"), ("onnx", "train"), ("onnxruntime", "train"), ("safetensors", "train")),
)
