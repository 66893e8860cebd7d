"""`python -m benchmarks.native_speed OUT.json`: the native engine beside torch eager and stock onnxruntime.

Every subject adapts the same episode for five steps, in turns, one thread each; a round gives one pair of
each, and ratios are of pairs. Times are processor time of the thread, so that other work on the machine
counts little. The engines also take the loss and the statistics after the last step, the loop in torch not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import regrow
from regrow.bench import machine
from regrow.bench.stats import ratios, spread
from regrow_exporter import export
from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.backbones.mlp import MLP

STEPS, LR, WAYS = 5, 0.01, 5
Subject = Callable[[], None]


@dataclass(frozen=True)
class Workload:
    """A network, its input, and how many samples it adapts to."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    samples: int


def _pruned_conv4(width: int) -> Callable[[], nn.Module]:
    return lambda: Conv4((1, 28, 28), WAYS, width, 4)


WORKLOADS = {
    "W1 Conv4-64 28x28, 5 samples": Workload(_pruned_conv4(64), (1, 28, 28), 5),
    "W1, half of the channels": Workload(_pruned_conv4(32), (1, 28, 28), 5),
    "W1, a quarter of the channels": Workload(_pruned_conv4(16), (1, 28, 28), 5),
    "W2 Conv4-32 84x84, 5 samples": Workload(lambda: Conv4((3, 84, 84), WAYS, 32, 4), (3, 84, 84), 5),
    "W2 Conv4-32 84x84, 25 samples": Workload(lambda: Conv4((3, 84, 84), WAYS, 32, 4), (3, 84, 84), 25),
    "W4 MLP 40-64-64-5, 25 samples": Workload(lambda: MLP((40,), WAYS, (64, 64)), (40,), 25),
}
SPARSITIES = (0.0, 0.85, 0.9, 0.95)


def measure(name: str, work: Workload, sparsity: float, rounds: int) -> dict[str, Any]:
    """All subjects in turns; figures in milliseconds of processor time."""
    torch.manual_seed(0)
    module = work.make()
    masks = _prune(module, sparsity)
    x = torch.rand(work.samples, *work.shape)
    y = torch.arange(work.samples) % WAYS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.regrow"
        example = torch.rand(16, *work.shape)
        export(module, example, adaptable=["*"], lr=LR, steps=STEPS, masks=masks or None, path=path)
        subjects = {
            "native": _engine(path, "native", x, y),
            "onnx": _engine(path, "onnx", x, y),
            "torch": _eager(module, x, y),
        }
        if x.ndim == 4:
            subjects["torch channels_last"] = _eager(module, x.to(memory_format=torch.channels_last), y)
        records = _turns(subjects, rounds)
        arena = regrow.open(path, engine="native").peak_bytes(work.samples)
    return {
        "workload": name,
        "sparsity": sparsity,
        "arena_bytes": arena,
        "cpu_ms": {k: spread(v).to_json() for k, v in records.items()},
        "times_native": {
            k: ratios(v, records["native"]).to_json() for k, v in records.items() if k != "native"
        },
    }


def _prune(module: nn.Module, sparsity: float) -> dict[str, torch.Tensor]:
    """Random masks on all but the head: speed does not depend on which weights stay."""
    masks: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.ndim > 1 and not name.startswith("head") and sparsity:
                masks[name] = torch.rand_like(p) >= sparsity
                p.mul_(masks[name])
    return masks


def _engine(path: Path, engine: str, x: torch.Tensor, y: torch.Tensor) -> Subject:
    model = regrow.open(path, engine=engine)
    params = dict(model.session().parameters)
    arrays = np.ascontiguousarray(x.numpy()), y.numpy()
    active = np.ones(WAYS, np.bool_)
    return lambda: (model.engine.adapt(*arrays, active, params, {}, STEPS), None)[1]


def _eager(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Subject:
    names = [n for n, _ in module.named_parameters()]

    def adapt() -> None:
        params = [p.detach().clone().requires_grad_() for p in module.parameters()]
        for _ in range(STEPS):
            out = torch.func.functional_call(module, dict(zip(names, params, strict=True)), (x,))
            grads = torch.autograd.grad(F.cross_entropy(out, y), params)
            with torch.no_grad():
                torch._foreach_add_(params, grads, alpha=-LR)

    return adapt


def _turns(subjects: dict[str, Subject], rounds: int) -> dict[str, list[float]]:
    records: dict[str, list[float]] = {name: [] for name in subjects}
    for i in range(rounds + 2):
        for name, subject in subjects.items():
            began = time.thread_time()
            subject()
            if i >= 2:
                records[name].append((time.thread_time() - began) * 1e3)
    return records


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", help="where the JSON goes")
    parser.add_argument("--rounds", type=int, default=15, help="pairs per workload (default: 15)")
    parser.add_argument("--only", default="", help="part of a workload's name")
    args = parser.parse_args()
    torch.set_num_threads(1)
    before = machine.describe()
    results = []
    for name, work in WORKLOADS.items():
        channels_cut = "channels" in name
        for sparsity in SPARSITIES if args.only in name else ():
            if not (channels_cut and sparsity):
                results.append(measure(name, work, sparsity, args.rounds))
                figures = {k: round(v["median"], 2) for k, v in results[-1]["times_native"].items()}
                print(
                    name, sparsity, f"{results[-1]['cpu_ms']['native']['median']:.2f} ms", figures, flush=True
                )
    made = {"machine": {**before, "load_after": machine.load()}, "rounds": args.rounds, "results": results}
    Path(args.output).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
