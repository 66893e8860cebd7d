"""A case on disk, as every peer reads it: numpy files and one JSON, nothing of any framework."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads import Layers, Shape

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Case:
    """A network with weights, an episode, and what may move."""

    folder: Path
    layers: Layers
    shape: Shape
    rate: float
    weights: Arrays
    moving: tuple[str, ...]  # names of the parameters that adapt
    masks: Arrays  # the positions that may move, where not all of a parameter's do
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    query: NDArray[np.float32]

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the parameters that stay."""
        return tuple(name for name in self.weights if name not in self.moving)

    def prefix(self) -> int:
        """How many layers come before the first that adapts."""
        for i, layer in enumerate(self.layers):
            if _moves(layer, self.moving):
                return i
        return len(self.layers)


def _moves(layer: Any, moving: tuple[str, ...]) -> bool:
    if layer[0] == "residual":
        return any(_moves(inner, moving) for branch in layer[1:] for inner in branch)
    return len(layer) > 1 and any(name.partition(".")[0] == layer[1] for name in moving)


def write(case: Case) -> None:
    """Everything but what is expected of it."""
    case.folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "layers": case.layers,
        "shape": case.shape,
        "rate": case.rate,
        "moving": case.moving,
    }
    (case.folder / "case.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    np.savez(case.folder / "weights.npz", **case.weights)  # type: ignore[arg-type]
    np.savez(case.folder / "masks.npz", **case.masks)  # type: ignore[arg-type]
    np.savez(case.folder / "episode.npz", x=case.x, y=case.y, query=case.query)


def read(folder: str | Path) -> Case:
    """A case that was written."""
    place = Path(folder)
    facts = json.loads((place / "case.json").read_text(encoding="utf-8"))
    episode = _arrays(place / "episode.npz")
    return Case(
        folder=place,
        layers=_tuples(facts["layers"]),
        shape=tuple(facts["shape"]),
        rate=facts["rate"],
        weights=_arrays(place / "weights.npz"),
        moving=tuple(facts["moving"]),
        masks=_arrays(place / "masks.npz"),
        x=episode["x"],
        y=episode["y"],
        query=episode["query"],
    )


def _arrays(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
