"""What of a bundle becomes C: two plans, the values that change, what both read. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.bundle import Bundle
from regrow.engines.native import packable
from regrow.errors import UnsupportedError
from regrow.plan.kept import Kept, forward, packs
from regrow.plan.lifted import lifted
from regrow.plan.make import Plan, missing, plan_adapt, plan_predict
from regrow.plan.stored import storable, stored_block
from regrow.plan.style import STYLES
from regrow.program import Program

Array = NDArray[Any]
DEFAULT_SAMPLES = 5
# Plans for machines with little memory, the default first.
PLANS = ("small", "small-fp16")
# Without wide vectors, lists pay off for every matrix, and in flash in any case.
LEAST_MATRIX = 0
_STAGES = ("prefix", "step", "finish")


@dataclass(frozen=True, eq=False)
class Bound:
    """Plans for fixed numbers of samples and queries, and arrays as the plans' blocks hold them.

    `changing` are the blocks that adaptation replaces, `fixed` the others by plan and block; packed weights
    are their kept positions.
    """

    bundle: Bundle
    samples: int
    queries: int
    adapt: Plan
    predict: Plan
    changing: Mapping[str, Array]
    fixed: Mapping[tuple[str, str], Array]
    target: int  # numbers per sample: labels where the task is classification
    labelled: bool
    plan: str

    @property
    def arena_bytes(self) -> int:
        return max(self.adapt.arena_bytes, self.predict.arena_bytes)

    @property
    def offsets(self) -> dict[str, int]:
        """Where each of `changing` lies in a C struct of them all; under "" its size."""
        made, end, widest = {}, 0, 1
        for name, array in self.changing.items():
            made[name] = -(-end // array.dtype.itemsize) * array.dtype.itemsize
            end = made[name] + array.nbytes
            widest = max(widest, array.dtype.itemsize)
        return made | {"": -(-end // widest) * widest}


def bind(bundle: Bundle, samples: int | None = None, plan: str = PLANS[0]) -> Bound:
    """Plan a bundle for a support set of `samples` (default: the episodes it was made for, else five)."""
    made = bundle.manifest
    if plan not in PLANS:
        raise UnsupportedError(f"{bundle.path}: C: plan is {plan!r}, expected one of {', '.join(PLANS)}")
    programs = {name: bundle.program(name) for name in ("predict", *_STAGES)}
    programs, worth = lifted(programs, packable(bundle, LEAST_MATRIX))
    if lacking := missing(programs):
        kinds = ", ".join(f"{kind} ({source})" for kind, source in sorted(lacking.items()))
        raise UnsupportedError(f"{bundle.path}: C: the core has no op {kinds}; write --onnx instead")
    count = default_samples(bundle) if samples is None else samples
    if count < 1:
        raise UnsupportedError(f"{bundle.path}: C: {count} samples, expected at least 1; see --c-samples")
    kept = _packed_in_both(programs, worth)
    narrow = storable(programs, made.parameters, kept)
    # A query normalised by its own batch needs one: as many as there were samples.
    queries = count if made.policy.batch_norm == "transductive" else 1
    adapt = plan_adapt(programs, count, kept, style=STYLES[plan], packed=True, stored=narrow)
    predict = plan_predict(programs["predict"], queries, kept, style=STYLES[plan], packed=True, stored=narrow)
    owner = packs({name: programs[name] for name in _STAGES}, kept)
    given = _arrays(bundle)
    stored = {name: _stored(name, array, owner, kept) for name, array in given.items()}
    moved = [*adapt.carried, *(f"stat:{spec.name}" for spec in made.statistics)]
    changing = {name: stored[name] for name in moved}
    fixed = {}
    for which, words in (("adapt", adapt), ("predict", predict)):
        for block in words.blocks[1:]:
            if block in words.lists:
                fixed[which, block] = words.lists[block]
            elif block in stored and block not in changing:
                fixed[which, block] = stored[block]
            elif (kind := block.partition(":")[0]) in ("stored", "scales"):
                fixed[which, block] = _narrow(bundle, kind, block.partition(":")[2])
    y = next(p.values["y"] for p in programs.values() if "y" in p.values)
    labelled = y.dtype == "int64"
    target = 1 if labelled else prod(y.at(count)) // count
    return Bound(bundle, count, queries, adapt, predict, changing, fixed, target, labelled, plan)


def default_samples(bundle: Bundle) -> int:
    """The support set of the episodes that the manifest speaks of."""
    about = bundle.manifest.provenance
    recipe, accuracy = about.get("recipe"), about.get("accuracy")
    for found in (
        recipe.get("data") if isinstance(recipe, dict) else None,
        accuracy.get("episodes") if isinstance(accuracy, dict) else None,
    ):
        ways, shots = (found.get("n_way"), found.get("k_shot")) if isinstance(found, dict) else (None, None)
        if isinstance(ways, int) and isinstance(shots, int) and min(ways, shots) > 0:
            return ways * shots
    return DEFAULT_SAMPLES


def _packed_in_both(programs: Mapping[str, Program], kept: Mapping[str, Kept]) -> dict[str, Kept]:
    """Adapting and predicting share one copy of a weight: it is packed for both or for none."""
    adapting = set(packs({name: programs[name] for name in _STAGES}, kept).values())
    predicting = set(packs({"predict": programs["predict"]}, kept).values())
    return {name: kept[name] for name in kept if name in adapting & predicting}


def _arrays(bundle: Bundle) -> dict[str, Array]:
    """Every array of the bundle under the name of its block."""
    made: dict[str, Array] = dict(bundle.params)
    made |= {f"meta:{name}": array for name, array in bundle.meta.items()}
    made |= {f"state:{name}": array for name, array in bundle.state.items()}
    made |= {f"stat:{name}": array for name, array in bundle.statistics.items()}
    for entry in bundle.manifest.parameters:
        if entry.adaptable in ("kept", "pruned"):
            kept = bundle.kept.get(entry.name, np.ones(entry.shape, np.bool_))
            made[f"mask:{entry.name}"] = kept if entry.adaptable == "kept" else ~kept
    return made


def _narrow(bundle: Bundle, kind: str, name: str) -> Array:
    """A frozen weight as it is stored; C has no name for a half, only for its bits."""
    entry = next(p for p in bundle.manifest.parameters if p.name == name)
    made = np.ascontiguousarray(stored_block(bundle, kind, entry))
    return made.view(np.uint16) if made.dtype == np.float16 else made


def _stored(name: str, array: Array, owner: Mapping[str, str], kept: Mapping[str, Kept]) -> Array:
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat[forward(kept[owner[name]]).order] if name in owner else flat
