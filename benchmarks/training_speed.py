"""Meta-training speed: second-order MAML, Conv4-64, Omniglot's shapes, 32 tasks of five steps, one gradient.

    pip download --no-deps --no-binary :all: learn2learn==0.2.0 && tar xzf learn2learn-0.2.0.tar.gz
    python -m benchmarks.training_speed --learn2learn learn2learn-0.2.0

Three ways to the same meta-gradient, in one process, taking turns: this trainer, learn2learn's MAML, and a
plain loop over tasks with `torch.autograd`. All three are held to the same gradient before anything is timed,
in float64: in float32 a ReLU of one task in a thousand falls the other way, whoever computes.
On one thread time is the processor's, so that other work on the machine does not count; on more it is the
clock's.

learn2learn 0.2.0 carries C made for Python 3.10 and does not build on later ones; its MAML is pure Python and
is imported from the unpacked source without the package's front.
"""

import argparse
import copy
import json
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from regrow.bench.machine import describe
from regrow.episodes import open_source
from regrow.progress import track
from regrow_trainer.backbones.conv4 import Conv4
from regrow_trainer.batching import Workers
from regrow_trainer.device import put
from regrow_trainer.feed import draw
from regrow_trainer.heap import settle
from regrow_trainer.learner import Learner, Task, initial_params, make_learner
from regrow_trainer.recipe import Data, Input
from regrow_trainer.rules.sgd import sgd
from regrow_trainer.strategies import Outcome
from regrow_trainer.strategies.second_order import second_order
from regrow_trainer.tensors import Tensors

DATA = Data(train="glyphs:train", validation="glyphs:val", test="glyphs:test", queries=5)
LR, STEPS, TASKS = 0.125, 5, 32  # a rate that float32 holds exactly
SAME = 1e-9  # relative distance of two gradients of one meta-batch in float64
Gradient = Callable[[Task], Tensors]


def ours(learner: Learner, params: Tensors, pool: Workers, device: torch.device) -> Gradient:
    """As `regrow train` does it."""
    meta = put(learner.rule.meta(params), device)

    def estimate(learner: Learner, task: Task) -> Outcome:
        return second_order(learner, learner.spread(params), learner.spread(meta), {}, task)

    return lambda tasks: pool.mean(estimate, tasks, many=True).params


def plain_loop(module: nn.Module) -> Gradient:
    """As a tutorial does it: one task after the other, `create_graph` in the inner loop."""

    def gradient(tasks: Task) -> Tensors:
        params = dict(module.named_parameters())
        total = next(iter(params.values())).new_zeros(())
        for support_x, support_y, query_x, query_y in zip(*tasks, strict=True):
            fast: dict[str, Tensor] = dict(params)
            for _ in range(STEPS):
                loss = F.cross_entropy(functional_call(module, fast, (support_x,)), support_y)
                grads = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
                fast = {n: p - LR * g for (n, p), g in zip(fast.items(), grads, strict=True)}
            total = total + F.cross_entropy(functional_call(module, fast, (query_x,)), query_y)
        grads = torch.autograd.grad(total / TASKS, list(params.values()))
        return dict(zip(params, grads, strict=True))

    return gradient


def learn2learn(module: nn.Module, folder: Path) -> Gradient:
    """As its own examples do it: clone, adapt, backward per task, gradients added up."""
    for name in ("learn2learn", "learn2learn.algorithms"):
        bare = types.ModuleType(name)
        bare.__path__ = [str(folder.joinpath(*name.split(".")))]
        sys.modules[name] = bare
    maml = import_module("learn2learn.algorithms.maml").MAML(module, lr=LR, first_order=False)

    def gradient(tasks: Task) -> Tensors:
        maml.zero_grad()
        for support_x, support_y, query_x, query_y in zip(*tasks, strict=True):
            learner = maml.clone()
            for _ in range(STEPS):
                learner.adapt(F.cross_entropy(learner(support_x), support_y))
            torch.autograd.backward(F.cross_entropy(learner(query_x), query_y))
        named = module.named_parameters()
        return {n: p.grad.detach() / TASKS for n, p in named if p.grad is not None}

    return gradient


def apart(a: Tensors, b: Tensors) -> float:
    """Relative distance of two gradients."""
    flat = [torch.cat([d[n].flatten() for n in sorted(a)]) for d in (a, b)]
    return float((flat[0] - flat[1]).norm() / flat[1].norm())


@contextmanager
def prepared(options: argparse.Namespace, dtype: torch.dtype) -> Iterator[tuple[dict[str, Gradient], Task]]:
    """All ways to the gradient of one meta-batch, in one precision."""
    torch.manual_seed(0)
    device = torch.device(options.device)
    module = Conv4((1, 28, 28), 5, options.width, downsample=options.downsample).to(dtype)
    learner = make_learner(module, sgd(LR), ("*",), STEPS, "cross_entropy", "transductive")
    learner = replace(learner, rule_learns=False)  # nor do the others learn their rate
    tasks = draw(open_source("glyphs:train"), DATA, Input(), DATA.queries, 0, 0, TASKS)
    tasks = put(Task(*(t.to(dtype) if t.is_floating_point() else t for t in tasks)), device)
    with Workers(learner, "auto", options.threads, options.chunk, device=device) as pool:
        params = put(initial_params(module), device)
        module = copy.deepcopy(module).to(device)  # the others' own, which collects gradients
        ways = {"regrow": ours(learner, params, pool, device), "plain loop": plain_loop(module)}
        if options.learn2learn is not None:
            ways["learn2learn"] = learn2learn(module, options.learn2learn)
        yield ways, tasks


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds per iteration, round by round, and their ratios within a round."""
    settle()
    torch.set_num_threads(options.threads)
    with prepared(options, torch.float64) as (ways, tasks):
        found = {name: gradient(tasks) for name, gradient in ways.items()}
    distance = {name: apart(grads, found["plain loop"]) for name, grads in found.items()}
    if max(distance.values()) > SAME:
        raise SystemExit(f"gradients differ: {distance}, expected at most {SAME}")
    clock = time.process_time if options.threads == 1 and options.device == "cpu" else time.perf_counter
    with prepared(options, torch.float32) as (ways, tasks):
        spent: dict[str, list[float]] = {name: [] for name in ways}
        with FlopCounterMode(display=False) as counted:
            ways["plain loop"](tasks)
        for gradient in ways.values():
            gradient(tasks)
        for _ in track(range(options.rounds), "rounds"):
            for name, gradient in ways.items():
                # A worker thread sets its own; the others' count is the process's.
                torch.set_num_threads(options.threads)
                _wait(options.device)
                began = clock()
                gradient(tasks)
                _wait(options.device)
                spent[name].append(clock() - began)
    others = [name for name in ways if name != "regrow"]
    ratios = {
        name: [theirs / own for theirs, own in zip(spent[name], spent["regrow"], strict=True)]
        for name in others
    }
    made = {
        "seconds": {name: statistics.median(times) for name, times in spent.items()},
        "times as fast as": {name: statistics.median(values) for name, values in ratios.items()},
        "range": {name: [min(values), max(values)] for name, values in ratios.items()},
        "gradient apart": distance,
        "operations": counted.get_total_flops(),
    }
    if options.device == "cuda":
        rate = matrix_rate()
        own = counted.get_total_flops() / statistics.median(spent["regrow"])
        made |= {"matrix gflops": rate / 1e9, "of matrix rate": own / rate}
    return made


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def matrix_rate(size: int = 8192) -> float:
    """Operations per second of a product of two matrices in fp32 on the GPU, the best of five."""
    a, best = torch.randn(size, size, device="cuda"), 0.0
    for _ in range(6):
        _wait("cuda")
        began = time.perf_counter()
        a @ a
        _wait("cuda")
        best = max(best, 2.0 * size**3 / (time.perf_counter() - began))
    return best


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--learn2learn", type=Path, metavar="FOLDER", help="unpacked source of 0.2.0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--chunk", type=int, default=32, help="tasks at a time on a thread")
    parser.add_argument("--downsample", default="stride", choices=("stride", "pool"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    return parser


def record(options: argparse.Namespace) -> dict[str, Any]:
    """What was measured, and how."""
    setting = {key: value for key, value in vars(options).items() if key != "learn2learn"}
    setting |= {"tasks": TASKS, "steps": STEPS, "queries": DATA.queries, "way": 5, "shot": 1}
    return {"setting": setting, "results": measure(options), "machine": describe()}


def main() -> None:
    """Measure and print."""
    sys.stdout.write(json.dumps(record(parser().parse_args()), indent=1) + "\n")


if __name__ == "__main__":
    main()
