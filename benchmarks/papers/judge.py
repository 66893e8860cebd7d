"""What a measured figure says about a printed one: one rule for all tables, nothing is decided by hand.

`CELL_RULE` and `CLAIM_RULE` are the rules in words, as the page prints them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.papers.table import Cell, Metric
from regrow.evaluate import Evaluation
from regrow_trainer.compare import difference

Status = Literal["reproduced", "partly", "not reproduced", "not run", "ours"]
Verdict = Literal["holds", "open", "fails", "not run"]
STATUSES: tuple[Status, ...] = ("reproduced", "partly", "not reproduced", "not run")
PARTLY = 3  # times the tolerance
CELL_RULE = f"""The interval of ours is over episodes; with several seeds it is the wider one of that and of
Student's t over the seeds. A printed figure is as far away as it lies outside of that interval, of which no
more than the tolerance counts, and of the spread printed with it. Up to the table's tolerance the cell is
*reproduced*, up to {PARTLY} times that *partly*, beyond it *not reproduced*. Better than printed counts as
reproduced for the paper's own method; for its rivals it counts as any other distance. Cells on other data
than the paper's, and rows that it lacks, are *ours*. Of two seeds the page shows both means."""
CLAIM_RULE = """One cell is at least as good as another, less a margin. The difference is taken episode by
episode; its 95 % interval is the wider one of a bootstrap over episodes and of Student's t over seeds. The
claim *holds* where all of the interval is on its side of the margin, *fails* where none is, and is *open* in
between."""
# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; more values than these take the last.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)

Scores = Mapping[int, Evaluation]  # by seed


@dataclass(frozen=True)
class Interval:
    """A mean and how far its 95 % interval reaches to either side."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def ours(scores: Scores) -> Interval:
    """The mean over all episodes of all seeds, and its interval."""
    together = Evaluation(
        np.concatenate([e.scores for e in scores.values()]), next(iter(scores.values())).metric
    )
    half = max(together.half_width, student([e.mean for e in scores.values()]))
    return Interval(together.mean, together.mean - half, together.mean + half)


def gap(first: Scores, second: Scores) -> Interval:
    """First minus second, episode by episode, over the seeds that both have."""
    seeds = sorted(set(first) & set(second))
    metric = first[seeds[0]].metric
    of_first, of_second = (
        Evaluation(np.concatenate([s[i].scores for i in seeds]), metric) for s in (first, second)
    )
    found = difference(of_second, of_first)
    half = student([first[i].mean - second[i].mean for i in seeds])
    return Interval(found.mean, min(found.low, found.mean - half), max(found.high, found.mean + half))


def status(cell: Cell, found: Interval | None, tolerance: float, metric: Metric) -> Status:
    """The rule of cells."""
    if found is None:
        return "not run"
    if cell.published is None or not cell.comparable:
        return "ours"
    better = 1 if metric == "accuracy" else -1
    apart = found.mean - cell.published.value
    # Few seeds that disagree have an interval that any figure lies in; that reproduces none.
    distance = max(0.0, abs(apart) - min(found.half_width, tolerance) - cell.published.spread)
    if distance <= tolerance or (apart * better > 0 and not cell.rival):
        return "reproduced"
    return "partly" if distance <= PARTLY * tolerance else "not reproduced"


def verdict(found: Interval | None, margin: float, metric: Metric) -> Verdict:
    """The rule of claims."""
    if found is None:
        return "not run"
    low, high = (found.low, found.high) if metric == "accuracy" else (-found.high, -found.low)
    if low >= -margin:
        return "holds"
    return "fails" if high < -margin else "open"


def student(means: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean over seeds or people; 0 for one, which tells of no others."""
    if len(means) < 2:
        return 0.0
    quantile = _T[min(len(means) - 1, len(_T)) - 1]
    return float(quantile * np.std(means, ddof=1) / math.sqrt(len(means)))
