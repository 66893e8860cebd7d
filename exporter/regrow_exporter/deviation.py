"""How far two results are apart, and how far they may be, in every proof of an export."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.errors import UnsupportedError

Arrays = Mapping[str, NDArray[Any]]

GRAPH_LIMIT = 1e-9
ENGINE_FACTOR = 8.0
GRADIENT_FLOOR = 1e-5
DRIFT_FLOOR = 1e-4
# A gradient that is zero in exact arithmetic (a bias before a batch norm) is noise in every precision, so it
# is judged against this share of the whole gradient instead of against itself. In fp64 a 1 % mistake in a
# tensor a millionth of the whole still stands out a million times over the limit.
SHARE = 1e-3


class VerificationError(UnsupportedError):
    """The exported program does not compute what torch computes; nothing was written."""


def errors(found: Arrays, truth: Arrays, share: float) -> dict[str, float]:
    """Relative error per tensor, each against its own norm plus a share of the whole."""
    whole = float(np.sqrt(sum(float((t.astype(np.float64) ** 2).sum()) for t in truth.values())))
    return {
        name: float(np.linalg.norm((found[name].astype(np.float64) - t).ravel()))
        / (float(np.linalg.norm(t.ravel())) + share * whole + 1e-30)
        for name, t in truth.items()
    }


def worst_of(runs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The largest error of each tensor over the runs."""
    merged: dict[str, float] = {}
    for run in runs:
        merged |= {name: max(error, merged.get(name, 0.0)) for name, error in run.items()}
    return merged


def moved(params: Arrays, base: Arrays) -> dict[str, NDArray[Any]]:
    """How far each parameter came from where it started."""
    return {name: params[name].astype(np.float64) - start for name, start in base.items()}


def judge_graph(worst: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The largest error of each kind, or a refusal where one says that the graph is wrong."""
    for what, figures in worst.items():
        name, error = max(figures.items(), key=lambda item: item[1])
        if not error <= GRAPH_LIMIT:
            raise VerificationError(
                f"verify: {what} {name}: differs from torch fp64 by {error:.2e}, expected at most "
                f"{GRAPH_LIMIT:.0e}; the export is refused. Please report the network that causes this"
            )
    return {what: max(figures.values()) for what, figures in worst.items()}
