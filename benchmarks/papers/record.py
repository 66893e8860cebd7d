"""What is published of a table's run: figures, intervals, statuses, claims, times, machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NotRequired, TypedDict

from benchmarks.papers.judge import Interval, Scores, Status, Verdict, gap, ours, status, verdict
from benchmarks.papers.table import Cell, Claim, Metric, Preset, Table
from benchmarks.papers.work import Kept, evaluation
from regrow.bench.machine import describe

Done = Mapping[tuple[str, int], Kept]  # by cell and seed


class Figure(TypedDict):
    """One cell; what follows `status` is there only where it was run."""

    published: float | None
    published_spread: float | None
    status: Status
    mean: NotRequired[float]
    low: NotRequired[float]
    high: NotRequired[float]
    episodes: NotRequired[int]
    by_seed: NotRequired[dict[str, float]]
    facts: NotRequired[dict[str, Any]]  # by seed
    curve: NotRequired[list[tuple[float, float]]]  # mean over seeds
    runs: NotRequired[list[str]]
    cpu_seconds: NotRequired[float]
    wall_seconds: NotRequired[float]


class Finding(TypedDict):
    """One claim and the paired difference that decides it."""

    says: str
    published: bool
    margin: float
    verdict: Verdict
    mean: NotRequired[float]
    low: NotRequired[float]
    high: NotRequired[float]


class Record(TypedDict):
    """A table as it was run, and on what."""

    table: str
    preset: str
    settings: dict[str, Any]
    metric: Metric
    tolerance: float
    cells: dict[str, Figure]
    claims: list[Finding]
    training: dict[str, dict[str, float]]
    machine: dict[str, Any]


def record(
    table: Table, name: str, preset: Preset, done: Done, times: Mapping[str, dict[str, float]]
) -> Record:
    """Every cell and claim of a table, judged by what is done."""
    scores: dict[str, dict[int, Any]] = {}
    for (key, seed), kept in done.items():
        scores.setdefault(key, {})[seed] = evaluation(kept)
    runs = {run for kept in done.values() for run in kept["runs"]}
    return {
        "table": table.name,
        "preset": name,
        "settings": asdict(preset),
        "metric": table.metric,
        "tolerance": table.tolerance,
        "cells": {c.key: _figure(table, c, scores.get(c.key), done) for c in table.cells},
        "claims": [_finding(table.metric, claim, scores) for claim in table.claims],
        "training": {run: times[run] for run in sorted(runs) if run in times},
        "machine": describe(),
    }


def _figure(table: Table, cell: Cell, scores: Scores | None, done: Done) -> Figure:
    found = None if scores is None else ours(scores)
    printed = cell.published
    made: Figure = {
        "published": None if printed is None else printed.value,
        "published_spread": None if printed is None else printed.spread,
        "status": status(cell, found, table.tolerance, table.metric),
    }
    if scores is None or found is None:
        return made
    kept = {seed: done[cell.key, seed] for seed in sorted(scores)}
    curves = [k["curve"] for k in kept.values()]
    made |= _ends(found)
    made |= {
        "episodes": sum(len(k["scores"]) for k in kept.values()),
        "by_seed": {str(seed): scores[seed].mean for seed in kept},
        "facts": {str(seed): k["facts"] for seed, k in kept.items() if k["facts"]},
        "curve": [
            (points[0][0], sum(y for _, y in points) / len(points)) for points in zip(*curves, strict=True)
        ],
        "runs": sorted({run for k in kept.values() for run in k["runs"]}),
        "cpu_seconds": sum(k["cpu_seconds"] for k in kept.values()),
        "wall_seconds": sum(k["wall_seconds"] for k in kept.values()),
    }
    return made


def _finding(metric: Metric, claim: Claim, scores: Mapping[str, Scores]) -> Finding:
    first, second = scores.get(claim.first, {}), scores.get(claim.second, {})
    found: Interval | None = gap(first, second) if set(first) & set(second) else None
    made: Finding = {
        "says": claim.says,
        "published": claim.published,
        "margin": claim.margin,
        "verdict": verdict(found, claim.margin, metric),
    }
    if found is not None:
        made |= _ends(found)
    return made


def _ends(found: Interval) -> Any:
    return {"mean": found.mean, "low": found.low, "high": found.high}
