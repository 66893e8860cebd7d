"""How much memory training takes per task, measured, and how many tasks at a time a limit allows.

`python -m regrow_trainer.memory` with a recipe as JSON on stdin says it for that recipe. It has to be a
process of its own: the peak of this one would hold whatever ran before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

from regrow.bench.memory import peak
from regrow.cli.command import human_bytes
from regrow.errors import BudgetError, RegrowError
from regrow_trainer.batching import Workers, usable_cores
from regrow_trainer.build import build, open_data
from regrow_trainer.feed import TRAIN, draw, stream_seed
from regrow_trainer.learner import Learner, Task
from regrow_trainer.recipe import Recipe, parse_recipe
from regrow_trainer.strategies import Outcome, takes_many

_FEW, _MORE = 1, 4


class Use(NamedTuple):
    """Peak bytes: of the process as such, and of each task that is worked on."""

    fixed: int
    per_task: int


class Plan(NamedTuple):
    """Threads, tasks at a time on each, and the peak to expect."""

    workers: int
    chunk: int
    peak: int


def measure(recipe: Recipe) -> Use:
    """Run a few tasks of the recipe in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "regrow_trainer.memory"],
        input=recipe.model_dump_json(exclude_none=True),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RegrowError(
            f"recipe {recipe.name}: its memory cannot be measured: {reason}; leave out the limit"
        )
    return Use(**json.loads(done.stdout))


def plan(recipe: Recipe, use: Use, limit: int, workers: int | None = None) -> Plan:
    """The recipe's chunk, made smaller, then threads given up, until the peak is within the limit."""
    threads = workers or usable_cores()
    wanted = 1 if recipe.train.batching == "loop" else recipe.train.chunk
    room = (limit - use.fixed) // max(use.per_task, 1)
    if room < 1:
        raise BudgetError(
            f"recipe {recipe.name}: needs {human_bytes(use.fixed + use.per_task)} for one task at a time, "
            f"given {human_bytes(limit)}; raise the limit, or train with fewer steps, fewer queries or a "
            "narrower backbone"
        )
    threads = min(threads, room)
    chunk = min(wanted, room // threads)
    return Plan(threads, chunk, use.fixed + threads * chunk * use.per_task)


def _probe(recipe: Recipe) -> Use:
    """The peak after a few tasks, and after some more at once: the slope is a task's."""
    built = build(recipe)
    state = built.start()
    source, seed = open_data(recipe, recipe.data.train), stream_seed(recipe.seed, TRAIN)

    def sums(learner: Learner, task: Task) -> Outcome:
        own, rates = learner.spread(state.params), learner.spread(state.meta)
        return built.strategy(learner, own, rates, {}, task)

    peaks = []
    with Workers(built.learner, recipe.train.batching, 1, _MORE) as pool:
        for count in (_FEW, _MORE):
            tasks = draw(source, recipe.data, recipe.input, recipe.data.queries, seed, 0, count)
            pool.mean(sums, tasks, many=takes_many(built.strategy))
            peaks.append(peak())
    per_task = (peaks[1] - peaks[0]) // (_MORE - _FEW)
    return Use(peaks[0] - _FEW * per_task, per_task)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_probe(parse_recipe(json.load(sys.stdin), "recipe"))._asdict()))
