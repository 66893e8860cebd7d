"""The outer loop: meta-train, prune on schedule, validate, keep the best, survive a kill.

A step makes a new state from the old one and touches nothing else, so a run can be interrupted anywhere and
goes on with the same bits.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from regrow import checkpoint
from regrow.checkpoint import Checkpoint
from regrow.errors import RegrowError
from regrow.progress import Progress
from regrow_trainer.batching import Workers
from regrow_trainer.begin import begin, take_up
from regrow_trainer.build import Built, build, open_data, to_checkpoint
from regrow_trainer.device import Device, pick
from regrow_trainer.feed import TRAIN, VALIDATION, batches, draw, stream_seed
from regrow_trainer.heap import settle
from regrow_trainer.learner import Learner, Scores, Task
from regrow_trainer.metrics import Metrics
from regrow_trainer.outer import OPTIMISERS, adam, scaled
from regrow_trainer.pruning import prune_round
from regrow_trainer.ranks import Ranks, joined
from regrow_trainer.recipe import Recipe
from regrow_trainer.rundir import RunDir, open_run
from regrow_trainer.schedule import learning_rate, rounds, step_shares
from regrow_trainer.state import Best, State
from regrow_trainer.strategies import Outcome, takes_many
from regrow_trainer.strategies.unrolled import Unrolled
from regrow_trainer.tensors import Tensors, zero
from regrow_trainer.trajectories import walked

_METRICS_EVERY = 10


def train(
    recipe: Recipe,
    out: Path,
    *,
    start: Checkpoint | None = None,
    resume: bool = False,
    force: bool = False,
    workers: int | None = None,
    tensorboard: bool = False,
    label: str = "train",
    chunk: int | None = None,
    device: Device = "auto",
) -> RunDir:
    """Run a recipe into a folder; `start` gives the first weights. Ctrl-C saves and is raised again.

    Under torchrun the processes share the tasks, and the first of them writes.
    """
    built = build(recipe)
    settle()
    state, origin = begin(built, start)
    where = pick(device)
    with joined(where) as ranks, TemporaryDirectory() as scratch:
        ranks.check(recipe)
        run = open_run(out, resume=resume, force=force) if ranks.leads else RunDir(out)
        ranks.wait()
        if resume:
            state, origin = take_up(built, run)
        state = state.on(where)
        # All make the same checkpoints; those of the others go where nobody looks.
        own = run if ranks.leads else RunDir(Path(scratch))
        with (
            Metrics(own.metrics, state.iteration, tensorboard and ranks.leads) as metrics,
            Workers(
                built.in_training,
                recipe.train.batching,
                workers,
                chunk or recipe.train.chunk,
                ranks,
                where,
            ) as pool,
        ):
            _Run(built, own, origin, label, ranks).go(state, metrics, pool)
        ranks.wait()
    if not run.best.exists():
        raise RegrowError(
            f"{out}: no validation had a finite loss, expected one; "
            "lower rule.args.lr or train.lr and use --force"
        )
    return run


class _Run:
    """One run's fixed parts; what changes is passed from step to step."""

    def __init__(self, built: Built, run: RunDir, origin: dict[str, Any], label: str, ranks: Ranks) -> None:
        self.built, self.run, self.origin, self.label, self.ranks = built, run, origin, label, ranks
        self.recipe = built.recipe
        self.options = built.recipe.train
        self.rounds = rounds(self.recipe.prune, self.options.iterations)
        source = open_data(self.recipe, self.recipe.data.validation)
        check, data = self.recipe.validation, self.recipe.data
        seed = stream_seed(self.recipe.seed, VALIDATION)
        self.validation = draw(
            source, data, self.recipe.input, check.queries, seed, *ranks.part(check.episodes)
        )

    def go(self, state: State, metrics: Metrics, pool: Workers) -> None:
        """Iterate to the end, or to Ctrl-C; the folder then holds the state reached."""
        options, total = self.options, self.options.iterations
        source = open_data(self.recipe, self.recipe.data.train)
        seed = stream_seed(self.recipe.seed, TRAIN)
        # A run that goes on from a checkpoint sees episodes that those weights have not seen.
        seen = self.origin.get("meta_iterations", 0)
        saved = time.monotonic()
        try:
            with (
                Progress(total, self.label, stream=None if self.ranks.leads else io.StringIO()) as progress,
                batches(
                    source,
                    self.recipe.data,
                    self.recipe.input,
                    seed,
                    options.tasks,
                    seen + state.iteration,
                    seen + total,
                    self.ranks.part(options.tasks),
                    options.task_pool,
                ) as feed,
            ):
                progress.start_at(state.iteration)
                if total == 0 and not state.history:
                    state = self._validate(self._prune(state, metrics, pool), metrics, pool)
                while state.iteration < total and not self._stopped(state):
                    # One expression: what is saved after Ctrl-C is not pruned twice.
                    state = self._iterate(
                        self._prune(state, metrics, pool), next(feed), metrics, pool, progress.update
                    )
                    if time.monotonic() - saved > options.checkpoint_seconds:
                        self._save(state)
                        saved = time.monotonic()
        finally:
            self._save(state)

    def _save(self, state: State) -> None:
        checkpoint.write(self.run.last, to_checkpoint(self.built, state, self.origin, resumable=True))

    def _stopped(self, state: State) -> bool:
        patience = self.recipe.validation.patience
        return patience > 0 and state.stale >= patience

    def _prune(self, state: State, metrics: Metrics, pool: Workers) -> State:
        """The rounds due at this iteration."""
        for iteration, sparsity in self.rounds:
            plan = self.recipe.prune
            if plan is None or iteration != state.iteration:
                continue
            seed = self.origin.get("seed", self.recipe.seed)
            state, told = prune_round(self.built, plan, state, sparsity, pool, self.ranks, seed)
            metrics.write(told)
        return state

    def _iterate(
        self, state: State, tasks: Task, metrics: Metrics, pool: Workers, show: Callable[..., None]
    ) -> State:
        began = time.monotonic()
        params, meta, masks = state.params, state.meta, state.masks
        chosen: Any = self.built.strategy
        if isinstance(chosen, Unrolled):
            state, scores = walked(self.built, chosen, state, tasks, pool, self.ranks, self._step)
            loss, accuracy = float(scores.loss), float(scores.accuracy)
        else:
            options = self._shares(state.iteration)

            def estimate(learner: Learner, task: Task) -> Outcome:
                return chosen(learner, learner.spread(params), learner.spread(meta), masks, task, **options)  # type: ignore[no-any-return]

            out = pool.mean(estimate, tasks, many=takes_many(chosen))
            state = self._step(state, out.params, out.meta)
            loss, accuracy = float(out.loss), float(out.accuracy)
        speed = self.options.tasks / (time.monotonic() - began)
        figures = self._figures(loss, accuracy)
        shown = {name: value for name, value in figures.items() if value is not None}
        show(state.iteration, **shown, **{"tasks/s": speed})
        if state.iteration % _METRICS_EVERY == 0:
            record = {"kind": "train", "iteration": state.iteration, "skipped": state.skipped}
            metrics.write({**record, **figures, "tasks_per_s": speed})
        if state.iteration % self.recipe.validation.every == 0 or state.iteration == self.options.iterations:
            state = self._validate(state, metrics, pool)
        return state

    def _shares(self, iteration: int) -> dict[str, Any]:
        """Which steps' query losses count at this iteration, where not only the last's does."""
        if not self.options.multi_step:
            return {}
        steps = self.options.steps or self.built.learner.steps
        return {"shares": step_shares(steps, self.options.multi_step, iteration)}

    def _figures(self, loss: float, accuracy: float) -> dict[str, float | None]:
        """What is reported; JSON knows no NaN."""
        shown: dict[str, float | None] = {"loss": loss if math.isfinite(loss) else None}
        return {**shown, "accuracy": accuracy} if self.built.learner.loss == "cross_entropy" else shown

    def _step(self, state: State, grads: Tensors, meta_grads: Tensors) -> State:
        """One outer step; a gradient that is not finite is skipped and counted."""
        options = self.options
        grads = {n: torch.zeros_like(g) if n in self.built.held else g for n, g in grads.items()}
        norm = math.sqrt(sum(float((g * g).sum()) for g in [*grads.values(), *meta_grads.values()]))
        iteration = state.iteration + 1
        if not math.isfinite(norm):
            return replace(state, iteration=iteration, skipped=state.skipped + 1)
        scale = min(1.0, options.clip / norm) if options.clip and norm else 1.0
        share = learning_rate(1.0, options.schedule, state.iteration, options.iterations)
        outer = OPTIMISERS[options.optimiser]
        params, moments = outer(state.params, scaled(grads, scale), state.moments, options.lr * share)
        meta, rule_moments = state.meta, state.rule_moments
        if options.rule_lr:
            meta, rule_moments = adam(meta, scaled(meta_grads, scale), rule_moments, options.rule_lr * share)
        return replace(
            state,
            params=zero(state.masks, params),
            meta=meta,
            moments=moments,
            rule_moments=rule_moments,
            iteration=iteration,
        )

    def _validate(self, state: State, metrics: Metrics, pool: Workers) -> State:
        """Score the fixed validation episodes; the best learner so far is written at once."""
        params, meta, masks = state.params, state.meta, state.masks

        def score(learner: Learner, task: Task) -> Scores:
            learner = replace(learner, compute=None)  # as a device will
            own, rates = learner.spread(params), learner.spread(meta)
            x, y = task.support_x, task.support_y
            return learner.query_scores(learner.adapt(own, rates, masks, x, y, learner.steps), task)

        with torch.no_grad():
            loss, accuracy = (float(value) for value in pool.mean(score, self.validation, many=True))
        record = {"kind": "validation", "iteration": state.iteration, **self._figures(loss, accuracy)}
        metrics.write(record)
        value = accuracy if self.built.learner.loss == "cross_entropy" else -loss
        state = replace(state, history=(*state.history, record))
        # Up to the last pruning round, which opens the next iteration, a learner is denser than asked for.
        last_round = max((start for start, _ in self.rounds), default=0)
        if last_round and state.iteration <= last_round:
            return state
        if not math.isfinite(loss) or (state.best is not None and value <= state.best.score):
            return replace(state, stale=state.stale + 1)
        state = replace(state, best=Best(value, state.iteration), stale=0)
        checkpoint.write(self.run.best, to_checkpoint(self.built, state, self.origin, resumable=False))
        return state
