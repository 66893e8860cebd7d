"""The file between trainer and exporter: weights, masks, the learner they belong to, and what resuming needs.

A checkpoint names its backbone and rule by dotted path and arguments; nothing here imports or follows them.
`extra` and `recipe` are opaque: only the trainer knows what they mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from regrow import bundle, container, manifest
from regrow.fields import Fields, Words, dumps, fail, loads, show_name
from regrow.files import StrPath
from regrow.manifest import BATCH_NORMS, BatchNorm, InputSpec

Array = NDArray[Any]
Loss = Literal["cross_entropy", "mse"]
Update = Literal["kept", "pruned"]

METADATA_KEY = "regrow_checkpoint"
FORMAT_VERSION = 2  # 1 knew no `update`
LOSSES: tuple[Loss, ...] = ("cross_entropy", "mse")
UPDATES: tuple[Update, ...] = ("kept", "pruned")
_GROUPS = {"params": "param", "masks": "mask", "meta": "meta", "extra": "extra"}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A learner at one iteration. `backbone` and `rule` are {"path": dotted path, "args": {...}}."""

    backbone: dict[str, Any]
    rule: dict[str, Any]
    adaptable: tuple[str, ...]
    steps: int
    loss: Loss
    batch_norm: BatchNorm
    input: InputSpec
    n_out: int
    params: dict[str, Array]
    masks: dict[str, Array]
    meta: dict[str, Array]
    extra: dict[str, Array]
    provenance: dict[str, Any]
    recipe: dict[str, Any]
    iteration: int
    update: Update = "kept"  # which positions of masked tensors a device moves


def write(path: StrPath, ckpt: Checkpoint) -> str:
    """Write a checkpoint atomically; returns its digest."""
    groups: dict[str, Mapping[str, Array]] = {key: getattr(ckpt, key) for key in _GROUPS}
    tensors = {
        f"{_GROUPS[key]}.{name}": array for key, group in groups.items() for name, array in group.items()
    }
    data = {
        "format_version": FORMAT_VERSION,
        "backbone": ckpt.backbone,
        "rule": ckpt.rule,
        "adaptable": list(ckpt.adaptable),
        "steps": ckpt.steps,
        "loss": ckpt.loss,
        "batch_norm": ckpt.batch_norm,
        "input": manifest.plain(ckpt.input),
        "n_out": ckpt.n_out,
        "provenance": manifest.plain(ckpt.provenance),
        "recipe": manifest.plain(ckpt.recipe),
        "iteration": ckpt.iteration,
        "update": ckpt.update,
        **{key: list(group) for key, group in groups.items()},
    }
    text = dumps(data, str(path))
    _assemble(str(path), text, tensors)
    return container.write(path, tensors, {METADATA_KEY: text})


def read(path: StrPath) -> Checkpoint:
    """Read a checkpoint; any doubt about it is a BundleError."""
    file = container.read(path)
    return _assemble(file.path, bundle.own_metadata(file, METADATA_KEY, "checkpoint"), file.tensors)


def _assemble(path: str, text: str, tensors: Mapping[str, Array]) -> Checkpoint:
    place = f"{path}: checkpoint"
    top = Fields(loads(text.encode(errors="surrogatepass"), place), place)
    version = manifest.check_version(top, FORMAT_VERSION)
    params = _group(path, top, "params", tensors)
    return Checkpoint(
        backbone=_definition(top, "backbone"),
        rule=_definition(top, "rule"),
        adaptable=top.texts("adaptable"),
        steps=top.integer("steps", 1),
        loss=cast(Loss, top.choice("loss", LOSSES)),
        batch_norm=cast(BatchNorm, top.choice("batch_norm", BATCH_NORMS)),
        input=manifest.parse_input(top.object("input")),
        n_out=top.integer("n_out", 1),
        params=params,
        masks=_masks(path, params, _group(path, top, "masks", tensors)),
        meta=_group(path, top, "meta", tensors),
        extra=_group(path, top, "extra", tensors),
        provenance=top.free("provenance"),
        recipe=top.free("recipe"),
        iteration=top.integer("iteration"),
        update="kept" if version == 1 else cast(Update, top.choice("update", UPDATES)),
    )


def _definition(top: Fields, key: str) -> dict[str, Any]:
    fields = top.object(key)
    return {"path": fields.text("path"), "args": fields.free("args")}


def _group(path: str, top: Fields, key: str, tensors: Mapping[str, Array]) -> dict[str, Array]:
    names = top.texts(key)
    manifest.check_unique(names, top.at(key))
    return {name: bundle.find(tensors, f"{_GROUPS[key]}.{name}", path) for name in names}


def _masks(path: str, params: Mapping[str, Array], masks: dict[str, Array]) -> dict[str, Array]:
    for name, mask in masks.items():
        param = params.get(name)
        if param is None or mask.dtype != np.bool_ or mask.shape != param.shape:
            found = Words(f"{mask.dtype}{list(mask.shape)}")
            want = "no mask" if param is None else f"bool{list(param.shape)} (its parameter's shape)"
            raise fail(f"{path}: mask.{show_name(name)}", found, want)
    return masks
