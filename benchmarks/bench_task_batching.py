"""Measure how to batch tasks on this CPU: a loop over tasks against `torch.func.vmap`, by chunk and workers.

Conv4-32 on 28x28, 5-way 1-shot, a meta-batch of 16, both strategies and both ways of halving. Prints JSON;
run it on an idle machine: python benchmarks/bench_task_batching.py > benchmarks/results/task_batching.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from regrow.episodes import open_source
from regrow.progress import track
from regrow_trainer import batching
from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.batching import Workers
from regrow_trainer.feed import draw
from regrow_trainer.learner import Task, initial_params, make_learner
from regrow_trainer.recipe import Data, Input
from regrow_trainer.rules.sgd import sgd
from regrow_trainer.strategies import strategy

TASKS = 16
DATA = Data(train="glyphs:train", validation="glyphs:val", test="glyphs:test", queries=3)


def cases() -> Iterator[dict[str, Any]]:
    """Every setting that is measured."""
    for downsample in ("stride", "pool"):
        for name in ("first_order", "second_order"):
            for workers in (1, 2):
                yield from (
                    {
                        "downsample": downsample,
                        "strategy": name,
                        "workers": workers,
                        "batching": how,
                        "chunk": c,
                    }
                    for how, c in (
                        ("loop", 8),
                        ("vmap", 1),
                        ("vmap", 2),
                        ("vmap", 4),
                        ("vmap", 8),
                        ("vmap", 16),
                    )
                )


def measure(case: dict[str, Any], tasks: Task, repeats: int) -> dict[str, Any]:
    """Milliseconds per task: wall (median and best) and processor time."""
    torch.manual_seed(0)
    module = Conv4((1, 28, 28), 5, width=32, downsample=case["downsample"])
    learner = make_learner(module, sgd(0.4), ("blocks.*",), 1, "cross_entropy", "support")
    params = initial_params(module)
    meta = learner.rule.meta(params)
    chosen = strategy(case["strategy"])
    wall, processor = [], []
    with Workers(learner, case["batching"], case["workers"], case["chunk"]) as pool:
        for _ in range(repeats + 1):
            began = time.perf_counter(), time.process_time()
            pool.mean(lambda one, task: chosen(one, params, meta, {}, task), tasks)
            wall.append((time.perf_counter() - began[0]) * 1e3 / TASKS)
            processor.append((time.process_time() - began[1]) * 1e3 / TASKS)
    return {
        **case,
        "wall_ms": round(statistics.median(wall[1:]), 2),
        "wall_ms_best": round(min(wall[1:]), 2),
        "processor_ms": round(statistics.median(processor[1:]), 2),
    }


def main() -> int:
    """Measure all cases and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    tasks = draw(open_source("glyphs:train"), DATA, Input(), DATA.queries, 0, 0, TASKS)
    rows = [measure(case, tasks, args.repeats) for case in track(list(cases()), "cases")]
    machine = {"processor": processor_name(), "cores": batching.usable_cores(), "torch": torch.__version__}
    json.dump(
        {"machine": machine, "tasks": TASKS, "queries": DATA.queries, "cases": rows}, sys.stdout, indent=1
    )
    sys.stdout.write("\n")
    return 0


def processor_name() -> str:
    """As the system reports it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    raise SystemExit(main())
