"""The front door: a torch module or a checkpoint in, a verified bundle out."""

import copy
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

import regrow
from regrow import bundle, selftest
from regrow.errors import UnsupportedError
from regrow.files import atomic_write
from regrow.manifest import Adaptable, BatchNorm, InputSpec, Manifest
from regrow_exporter.capture import labelled, loss_function
from regrow_exporter.learners import check_head, fitting, is_metric, make_rule, stepping
from regrow_exporter.metric import HEAD
from regrow_exporter.onnx_writer import write_adapt, write_single
from regrow_exporter.pack import Description, pack
from regrow_exporter.programs import Learner, Programs, build
from regrow_exporter.verify import VerificationError, verify
from regrow_exporter.verify_fit import verify_fit

Report = Callable[[str], None]
PRECISIONS = ("fp32", "fp16")
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


def export(
    module: nn.Module,
    example: torch.Tensor,
    *,
    adaptable: Sequence[str] = ("head.*",),
    rule: str = "sgd",
    lr: float = 0.01,
    steps: int = 5,
    loss: str = "cross_entropy",
    masks: Mapping[str, torch.Tensor] | str | None = None,
    update: Adaptable = "kept",
    precision: str = "fp32",
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
    report: Report = lambda line: None,
) -> Exported:
    """Differentiate `module` ahead of time and write a verified bundle.

    `example` is a batch of real samples: its shape is the model's input, and where the network normalises by
    batch statistics, theirs are what a session predicts with before its first adaptation.

    A metric rule such as `prototype` is fitted in one step without a gradient. Its head takes the place of
    the layer `head` (None: the network's output already is the features) and has room for `ways` classes
    (unless given, the layer's own outputs); `adaptable`, `lr`, `steps` and `update` do not concern it.
    `max_loss_rise` is 1 unless given; a fit, which cannot run away, is not held to any.
    """
    _check_choices(precision, update, loss, steps, example)
    path = Path(path)
    made_rule, rule_path, args = make_rule(rule, rule_args, lr)
    metric = is_metric(made_rule)
    check_head(made_rule, head, ways, loss)
    module = _prepared(module, precision)
    kept = _masks(module, masks)
    if metric:
        learner, empty = fitting(module, example, made_rule, head, ways, loss)
        kinds: dict[str, Adaptable] = dict.fromkeys(learner.adaptable, "all")
        kept = {n: mask for n, mask in kept.items() if n in learner.tensors()} | empty
        steps = 1
    else:
        shape = tuple(example.shape[1:])
        learner, kinds = stepping(module, shape, made_rule, adaptable, meta, loss, kept, update)
    report("capturing and differentiating")
    programs = build(learner, transductive=batch_norm == "transductive")
    env = _environment(learner, programs)
    report("verifying against torch in fp64, and the engine in fp32")
    figures = verify_fit(learner, programs, env) if metric else verify(learner, programs, env, steps)
    about = Description(
        name=name or path.stem,
        input=input or _input_spec(learner.shape),
        labels=tuple(labels) if labels else None,
        rule_name=rule_path.rpartition(":")[2],
        rule_path=rule_path,
        rule_args=args,
        steps=steps,
        batch_norm=batch_norm or _batch_norm(programs),
        max_loss_rise=(UNBOUNDED if metric else 1.0) if max_loss_rise is None else max_loss_rise,
        precision=precision,
        provenance={"versions": _versions(), **(provenance or {})},
    )
    report("packing")
    calibration = example.detach().numpy().astype(np.float32)
    arrays = {n: m.numpy() for n, m in kept.items()}
    manifest, tensors = pack(learner, programs, env, arrays, kinds, calibration, figures, about)
    digest = _write_checked(path, manifest, tensors)
    dense = write_single(programs.deployed["predict"], env, "predict").ByteSize()
    if onnx is not None:
        report("writing ONNX")
        write_onnx(Path(onnx), programs, env, manifest)
    return Exported(path, digest, manifest, path.stat().st_size, dense)


def _check_choices(precision: str, update: str, loss: str, steps: int, example: torch.Tensor) -> None:
    loss_function(loss)
    choices = (("precision", precision, PRECISIONS), ("update", update, MOVES))
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


def _prepared(module: nn.Module, precision: str) -> nn.Module:
    """A copy, its weights rounded to what is stored, so that what is proven is what is shipped."""
    module = copy.deepcopy(module)
    for layer in module.modules():
        # A device learns from a handful of samples: dropping features at random only adds noise there.
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.p = 0.0
    if precision == "fp16":
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.ndim > 1:
                    parameter.copy_(parameter.half().float())
    return module


def _masks(module: nn.Module, masks: Mapping[str, torch.Tensor] | str | None) -> dict[str, torch.Tensor]:
    """Kept positions per masked parameter; the module's pruned weights are checked to be zero."""
    params = {n: p.detach() for n, p in module.named_parameters()}
    if masks is None:
        return {}
    if isinstance(masks, str):
        if masks != "zeros":
            raise UnsupportedError(f"export: masks={masks!r}, expected 'zeros' or a dict of tensors")
        masks = {n: p != 0 for n, p in params.items() if p.ndim > 1 and bool((p == 0).any())}
    for name, mask in masks.items():
        if name not in params or mask.shape != params[name].shape:
            raise UnsupportedError(
                f"export: masks[{name!r}] of shape {tuple(mask.shape)}: no parameter of that name and shape"
            )
        if not bool(mask.any()):
            raise UnsupportedError(f"export: masks[{name!r}] keeps nothing; remove the layer instead")
        if bool((params[name][~mask.bool()] != 0).any()):
            raise UnsupportedError(
                f"export: {name} has pruned weights that are not zero; apply the mask first"
            )
    return {n: m.bool() for n, m in masks.items()}


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


def _input_spec(shape: tuple[int, ...]) -> InputSpec:
    return InputSpec(shape=shape, kind="image" if len(shape) == 3 else "vector")


def _versions() -> dict[str, str]:
    return {
        "regrow": regrow.__version__,
        "torch": torch.__version__.partition("+")[0],
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }


def _write_checked(path: Path, manifest: Manifest, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Write beside the target, run the bundle's own self-test as a device would, then move it into place."""
    draft = path.with_name(f"{path.name}.unverified")
    digest = bundle.write(draft, manifest, tensors)
    try:
        model = regrow.open(draft)
        problem = selftest.check(model.bundle, model.engine)
        if problem:
            raise VerificationError(
                f"{path}: the written bundle fails its self-test: {problem}; export refused"
            )
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return digest


def write_onnx(folder: Path, programs: Programs, env: Mapping[str, NDArray[Any]], manifest: Manifest) -> None:
    """predict.onnx, adapt.onnx (weights inside, runnable with onnxruntime alone) and manifest.json."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "predict.onnx": write_single(programs.deployed["predict"], env, "predict"),
        "adapt.onnx": write_adapt(programs.deployed, env),
    }
    for name, model in files.items():
        atomic_write(folder / name, model.SerializeToString(deterministic=True))
    text = json.dumps(manifest.to_json(), indent=1, sort_keys=True) + "\n"
    atomic_write(folder / "manifest.json", text.encode())
