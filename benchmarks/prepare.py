"""Write the cases of the benchmark: weights, an episode, torch's outputs in fp64, regrow's bundle."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import case as cases
from benchmarks.case import Arrays, Case
from benchmarks.peers.regrow_engine import BUNDLE
from benchmarks.peers.torch_net import Net, build
from benchmarks.workloads import (
    QUERIES,
    STEPS,
    WAYS,
    Work,
    Workload,
    moves,
    parameters,
    prepared,
    prunable,
)

_NOISE = 0.7  # of a sample, beside the pattern of its class


REFERENCE = "reference.npz"


@dataclass(frozen=True, eq=False)
class Expected:
    """Outputs before and after five steps, by torch in fp64; what torch loses in fp32 says how well defined
    they are.
    """

    before: NDArray[np.float64]
    logits: NDArray[np.float64]
    torch_error: float

    def error(self, found: NDArray[np.float64]) -> float:
        """How far outputs are off at most, relative to what the steps changed at most. Relative to the
        outputs themselves, a peer that moves nothing but the head would pass where steps are small.
        """
        return error(found, self.logits, self.before)


def write(work: Work, home: Path, *, bundle: bool = True) -> Case:
    """The folder of a case, complete, or without regrow's bundle; one that is there is read."""
    folder = home / work.name
    if (folder / REFERENCE).exists():
        return cases.read(folder)
    case = make(work, folder)
    cases.write(case)
    if bundle:
        _export(case, work)
    found = expected(case)
    arrays = {"before": found.before, "logits": found.logits, "torch_error": np.asarray(found.torch_error)}
    np.savez(folder / REFERENCE, **arrays)  # type: ignore[arg-type]
    return case


def read_expected(folder: Path) -> Expected:
    """What was written beside a case."""
    with np.load(folder / REFERENCE, allow_pickle=False) as file:
        return Expected(file["before"], file["logits"], float(file["torch_error"]))


def make(work: Work, folder: Path) -> Case:
    """Weights, masks and samples from seeds that depend on the workload alone."""
    what = prepared(work)
    rng = np.random.default_rng(zlib.crc32(work.workload.encode()))
    shapes = parameters(what.layers, what.shape)
    weights = {name: _initial(rng, name, shape) for name, shape in shapes.items()}
    kept: Arrays = {}
    if work.sparsity:
        for name in prunable(shapes):
            kept[name] = _kept(rng, shapes[name], work.sparsity)
            weights[name] = weights[name] * kept[name]
    moving = tuple(name for name in weights if moves(name, work, what, kept))
    masks: Arrays = {}
    if work.chosen != "all":
        turn = work.chosen == "complement"
        masks = {name: ~kept[name] if turn else kept[name] for name in moving if name in kept}
    x, y, query = _episode(rng, what)
    return Case(folder, what.layers, what.shape, what.rate, weights, moving, masks, x, y, query)


def _kept(rng: np.random.Generator, shape: tuple[int, ...], sparsity: float) -> NDArray[np.bool_]:
    """At random, but no filter loses all of its weights: a constant channel ties in every pooling window, and
    frameworks differ in where the gradient of a tie goes.
    """
    scores = rng.random(shape)
    best = scores.reshape(len(scores), -1).max(1).reshape(-1, *[1] * (len(shape) - 1))
    kept: NDArray[np.bool_] = (scores >= sparsity) | (scores == best)
    return kept


def _initial(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if len(shape) == 1:
        # As after training. Shifts of zero would put whole channels exactly on the edge of their ReLU, where
        # frameworks differ in which side they count it to.
        return (float(name.endswith("weight")) + 0.1 * rng.standard_normal(shape)).astype(np.float32)
    gain = 1.0 if name.startswith("head.") else 2.0
    deviation = np.sqrt(gain / np.prod(shape[1:]))
    drawn: NDArray[np.float32] = (rng.standard_normal(shape) * deviation).astype(np.float32)
    return drawn


def _episode(
    rng: np.random.Generator, what: Workload
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    patterns = rng.standard_normal((WAYS, *what.shape))

    def draw(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        y = np.arange(count) % WAYS
        noise = rng.standard_normal((count, *what.shape))
        return (patterns[y] + _NOISE * noise).astype(np.float32), y.astype(np.int64)

    x, y = draw(what.support)
    return x, y, draw(QUERIES)[0]


def _export(case: Case, work: Work) -> None:
    from regrow_exporter import export  # not needed where there is a GPU and nothing else

    kept = {name: torch.from_numpy(case.weights[name] != 0) for name in case.weights} if work.sparsity else {}
    pruned = {n: m for n, m in kept.items() if m.ndim > 1 and not n.startswith("head.")}
    update = {"kept": "kept", "complement": "pruned"}.get(
        work.chosen, "all" if work.chosen == "all" else "kept"
    )
    export(
        build(case),
        torch.from_numpy(case.query[:16]),
        adaptable=list(case.moving),
        lr=case.rate,
        steps=STEPS,
        masks=pruned or None,
        update=update,  # type: ignore[arg-type]
        batch_norm="transductive" if any("norm" in name for name in case.weights) else None,
        max_loss_rise=1e6,
        path=case.folder / BUNDLE,
    )


def expected(case: Case) -> Expected:
    """The reference, and what fp32 alone loses."""
    before, exact = (_logits(case, torch.float64, steps) for steps in (0, STEPS))
    return Expected(before, exact, error(_logits(case, torch.float32), exact, before))


def error(found: NDArray[np.float64], exact: NDArray[np.float64], before: NDArray[np.float64]) -> float:
    """The largest difference, relative to the largest change."""
    return float(np.max(np.abs(found - exact)) / np.max(np.abs(exact - before)))


def _logits(case: Case, dtype: torch.dtype, steps: int = STEPS) -> NDArray[np.float64]:
    net: Net = build(case).to(dtype)
    named = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    x, y = torch.from_numpy(case.x).to(dtype), torch.from_numpy(case.y)
    for _ in range(steps):
        grads = torch.autograd.grad(torch.nn.functional.cross_entropy(net(x), y), [p for _, p in named])
        with torch.no_grad():
            for (name, p), grad in zip(named, grads, strict=True):
                p.sub_(
                    case.rate * (grad * torch.from_numpy(case.masks[name]) if name in case.masks else grad)
                )
    with torch.no_grad():
        made: NDArray[np.float64] = net(torch.from_numpy(case.query).to(dtype)).double().numpy()
    return made
