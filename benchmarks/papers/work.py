"""The folder behind the tables: networks are trained once, whatever table asks; finished cells are kept.

A run's name ends with a digest of its recipe and of what it starts from, so that equal runs are shared and
different ones never mixed. What a run took is added up over interruptions.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from benchmarks.papers.table import Job, Metric, Preset
from regrow import checkpoint
from regrow.checkpoint import Checkpoint
from regrow.evaluate import Evaluation
from regrow.files import atomic_write
from regrow_trainer import training
from regrow_trainer.recipe import Prune, Recipe, load_recipe
from regrow_trainer.rundir import RunDir

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
TIMES = "times.json"


class Kept(TypedDict):
    """A finished cell of one seed, as it lies in the folder."""

    metric: Metric
    scores: list[float]
    facts: dict[str, Any]
    curve: list[tuple[float, float]]
    runs: list[str]  # the trainings behind it
    cpu_seconds: float  # of measuring alone
    wall_seconds: float


class Work:
    """Runs below one folder; `workers` are the threads of each."""

    def __init__(self, folder: Path, workers: int | None = None) -> None:
        self.folder, self.workers = folder, workers
        self._asked: list[str] = []
        self._trained = (0.0, 0.0)  # seconds of processor and wall that this object spent in training
        folder.mkdir(parents=True, exist_ok=True)

    def recipe(self, name: str, seed: int, *sets: Sequence[str]) -> Recipe:
        """A recipe of the repository with the settings of a table's stages on top."""
        return load_recipe(RECIPES / f"{name}.toml", [f"seed={seed}", *(word for s in sets for word in s)])

    def trained(
        self, label: str, recipe: Recipe, start: RunDir | None = None, prune: Prune | None = None
    ) -> RunDir:
        """The finished run of a recipe: as it is, gone on with, or begun from the last state of `start`."""
        recipe = recipe.model_copy(update={"prune": prune})
        run = RunDir(self.folder / f"{label}-{_digest(recipe, start)}")
        if run.path.name not in self._asked:
            self._asked.append(run.path.name)
        if not (run.last.exists() and checkpoint.read(run.last).iteration >= recipe.train.iterations):
            begun = run.last.exists()
            first = None if start is None else checkpoint.read(start.last)
            with self._timed(run.path.name):
                # One that was stopped before its first save has nothing to go on with.
                training.train(
                    recipe, run.path, start=first, resume=begun, force=not begun, workers=self.workers,
                    label=label,
                )  # fmt: skip
        return run

    def placed(self, label: str, made: Checkpoint, parents: Sequence[RunDir]) -> RunDir:
        """A start that no training ends with, as a run; `parents` are those that it was made from."""
        told = " ".join(run.path.name for run in parents)
        run = RunDir(self.folder / f"{label}-{hashlib.sha256(told.encode()).hexdigest()[:8]}")
        run.path.mkdir(exist_ok=True)
        checkpoint.write(run.last, made)
        return run

    def last(self, run: RunDir) -> Checkpoint:
        """What a run ended with: equally long training for all, where the best would be a choice."""
        return checkpoint.read(run.last)

    def cell(self, table: str, preset: Preset, job: Job) -> Kept:
        """A cell from the folder, or measured now."""
        before = self.kept(table, preset, job)
        if before is not None:
            return before
        self._asked = []
        trained, cpu, wall = self._trained, time.process_time(), time.monotonic()
        made = job.run(self)
        after = self._trained
        kept: Kept = {
            "metric": made.scores.metric,
            "scores": made.scores.scores.tolist(),
            "facts": dict(made.facts),
            "curve": [(float(x), float(y)) for x, y in made.curve],
            "runs": self._asked,
            "cpu_seconds": time.process_time() - cpu - (after[0] - trained[0]),
            "wall_seconds": time.monotonic() - wall - (after[1] - trained[1]),
        }
        path = self._place(table, preset, job)
        path.parent.mkdir(exist_ok=True)
        atomic_write(path, json.dumps(kept).encode())
        return kept

    def kept(self, table: str, preset: Preset, job: Job) -> Kept | None:
        """A finished cell; of a preset with other settings it is another one."""
        path = self._place(table, preset, job)
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def _place(self, table: str, preset: Preset, job: Job) -> Path:
        words = json.dumps([preset.episodes, preset.sets], sort_keys=True)
        folder = self.folder / f"{table}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"
        return folder / f"{re.sub(r'[^A-Za-z0-9.]+', '_', job.key)}-s{job.seed}.json"

    def times(self) -> dict[str, dict[str, float]]:
        """Seconds that trainings took, by their name: of the processor and of the wall."""
        path = self.folder / TIMES
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        cpu, wall = time.process_time(), time.monotonic()
        try:
            yield
        finally:
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            self._trained = (self._trained[0] + cpu, self._trained[1] + wall)
            known = self.times()
            before = known.get(name, {"cpu_seconds": 0.0, "wall_seconds": 0.0})
            known[name] = {
                "cpu_seconds": before["cpu_seconds"] + cpu,
                "wall_seconds": before["wall_seconds"] + wall,
            }
            atomic_write(self.folder / TIMES, json.dumps(known, indent=1).encode())


def evaluation(kept: Kept) -> Evaluation:
    """The scores of a kept cell."""
    return Evaluation(np.array(kept["scores"]), kept["metric"])


def _digest(recipe: Recipe, start: RunDir | None) -> str:
    """Eight letters that change with the recipe and with what the run starts from."""
    told = recipe.model_dump_json(exclude_none=True) + ("" if start is None else start.path.name)
    return hashlib.sha256(told.encode()).hexdigest()[:8]
