"""Export what the trainer wrote: rebuild backbone and rule by name, apply the masks, hand on the rest."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from regrow import checkpoint, selftest
from regrow.checkpoint import Checkpoint
from regrow.episodes import Source, open_source, sample
from regrow.errors import BundleError, UnsupportedError
from regrow.moves import Positions
from regrow.values import Values
from regrow_exporter.freeze import RULE as FROZEN
from regrow_exporter.freeze import Support, freezable, freeze
from regrow_exporter.learners import is_metric, make_rule, stepping
from regrow_exporter.measure import Episodes
from regrow_exporter.metric import HEAD
from regrow_exporter.pipeline import Exported, export
from regrow_exporter.resolve import resolve
from regrow_exporter.stages import Silent, Stages

CALIBRATION_SHOTS = 5
FREEZING_SETS = 5  # an odd number: their median is one of them
RECIPE_DATA = ("validation", "test", "train")


def export_checkpoint(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    rule: str | None = None,
    rule_args: Mapping[str, Any] | None = None,
    head: str | None = HEAD,
    ways: int | None = None,
    steps: int | None = None,
    update: Positions | None = None,
    precision: Values | Literal["auto"] = "fp32",
    max_drop: float = 0.5,
    budget: str | Sequence[str] = (),
    episodes: Episodes | str | Source | None = None,
    onnx: str | os.PathLike[str] | None = None,
    c: str | os.PathLike[str] | None = None,
    c_samples: int | None = None,
    c_plan: str = "small",
    backbone: str | None = None,
    dynamic: bool = False,
    simplify: bool = True,
    stages: Stages | None = None,
) -> Exported:
    """Export a checkpoint; `backbone` names code outside the trainer that the file may use.

    `episodes` may also be "validation" or "test", the data of its recipe; what needs episodes and is given
    none is measured on the former. A metric `rule`, with `head` and `ways` as `export` has them, takes the
    place of the one it trained with. Rates that come from an LSTM are frozen, unless `dynamic`.
    """
    stages = stages or Silent()
    stages.at("reading the checkpoint", 0.0)
    ckpt = checkpoint.read(path)
    update = update or ckpt.update
    module = _rebuild(ckpt, backbone, os.fspath(path))
    needed = precision == "auto" or bool(budget)
    own = str(ckpt.rule["path"])
    resolve(own, named_by_user=False)
    if rule_args if rule is None else not is_metric(make_rule(rule, rule_args, 0.0)[0]):
        raise UnsupportedError(
            f"export: rule={rule!r}, rule_args={dict(rule_args or {})}: what {os.fspath(path)} learned goes "
            f"with its own rule, {own}; expected none, or a metric rule such as prototype"
        )
    meta, masks = (
        {name: torch.from_numpy(np.array(t)) for name, t in group.items()}
        for group in (ckpt.meta, ckpt.masks)
    )
    adaptable: Sequence[str] = ckpt.adaptable
    made_by, args = (rule, rule_args or {}) if rule else (own, ckpt.rule["args"])
    frozen: dict[str, Any] = {}
    made = make_rule(made_by, args, 0.0)[0]
    if freezable(made) and not dynamic:
        stages.at("freezing the rates", 0.0)
        taken = ckpt.steps if steps is None else steps
        moving = stepping(module, made, taken, ckpt.adaptable, meta, masks, update)
        still = freeze(module, moving, ckpt.loss, _supports(ckpt))
        frozen = {"frozen": {"rule": made_by, "args": dict(args), **still.about}}
        adaptable, made_by, args, meta, masks = still.names, FROZEN, {}, still.meta, still.masks
    elif dynamic and not freezable(made):
        raise UnsupportedError(
            f"export: dynamic: {os.fspath(path)} goes by {made_by}, whose rates are no LSTM's; leave it out"
        )
    return export(
        module,
        torch.from_numpy(_calibration(ckpt)),
        adaptable=adaptable,
        rule=made_by,
        rule_args=args,
        head=head,
        ways=ways,
        meta=meta,
        steps=ckpt.steps if steps is None else steps,
        loss=ckpt.loss,
        masks=masks,
        update=update,
        precision=precision,
        max_drop=max_drop,
        budget=budget,
        episodes=_episodes(ckpt, episodes, os.fspath(path)) if episodes or needed else None,
        path=out,
        onnx=onnx,
        c=c,
        c_samples=c_samples,
        c_plan=c_plan,
        input=ckpt.input,
        batch_norm=ckpt.batch_norm,
        provenance={**ckpt.provenance, "backbone": ckpt.backbone, "recipe": ckpt.recipe,
                    "iterations": ckpt.iteration, **frozen},
        simplify=simplify,
        stages=stages,
    )  # fmt: skip


def _rebuild(ckpt: Checkpoint, backbone: str | None, place: str) -> nn.Module:
    made = resolve(backbone or str(ckpt.backbone["path"]), named_by_user=backbone is not None)
    module: nn.Module = made(**ckpt.backbone["args"])
    wanted = dict(module.named_parameters())
    if set(wanted) != set(ckpt.params):
        odd = sorted(set(wanted) ^ set(ckpt.params))
        raise BundleError(
            f"{place}: its parameters do not fit {ckpt.backbone['path']}: {', '.join(odd[:5])}; "
            "use the version of the code that trained it"
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(torch.from_numpy(np.array(ckpt.params[name])))
    return module


def _episodes(ckpt: Checkpoint, asked: Episodes | str | Source | None, place: str) -> Episodes:
    """What was asked for; data of the recipe, and the sizes it was trained for, where that is left open."""
    data = ckpt.recipe.get("data", {})
    made = asked if isinstance(asked, Episodes) else Episodes(asked or "validation")
    if made.source in RECIPE_DATA:
        if made.source not in data:
            raise BundleError(f"{place}: its recipe names no {made.source} data; give episodes of your own")
        made = replace(made, source=data[made.source], args={**data.get("args", {}), **made.args})
    return replace(made, n_way=made.n_way or data.get("n_way"), k_shot=made.k_shot or data.get("k_shot"))


def _supports(ckpt: Checkpoint) -> list[Support]:
    """Support sets as a device will meet them; generated ones where the checkpoint names no data."""
    data, shape = ckpt.recipe.get("data", {}), ckpt.input.shape
    if "validation" not in data:
        return [selftest.episode(seed, 2 * ckpt.n_out, ckpt.n_out, shape) for seed in range(FREEZING_SETS)]
    source = open_source(data["validation"], **data.get("args", {}))
    sizes = (data.get("n_way", ckpt.n_out), data.get("k_shot", 1), 1)
    drawn = [sample(source, *sizes, seed=0, index=index) for index in range(FREEZING_SETS)]
    return [(_scaled(ckpt, episode.support_x), episode.support_y) for episode in drawn]


def _scaled(ckpt: Checkpoint, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((x - ckpt.input.mean) / ckpt.input.std, np.float32).reshape(-1, *ckpt.input.shape)


def _calibration(ckpt: Checkpoint) -> NDArray[np.float32]:
    """Validation samples of the data the checkpoint was trained on; generated ones where it names none."""
    data, shape = ckpt.recipe.get("data", {}), ckpt.input.shape
    if "validation" not in data:
        return selftest.episode(1, CALIBRATION_SHOTS * 5, 5, shape)[0]
    source = open_source(data["validation"], **data.get("args", {}))
    ways = ckpt.n_out if source.task == "classification" else 1
    episode = sample(source, ways, CALIBRATION_SHOTS, 1, seed=0, index=0)
    return _scaled(ckpt, episode.support_x)
