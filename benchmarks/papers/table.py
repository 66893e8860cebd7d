"""What a published table is, before anything is run: its cells, its claims, how long ours trains.

Accuracies are fractions here and percent on the page only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from benchmarks.papers.work import Work
    from regrow.evaluate import Evaluation

Metric = Literal["accuracy", "mse"]


@dataclass(frozen=True)
class Published:
    """A figure as printed; `spread` is what the paper prints behind "±"."""

    value: float
    spread: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One figure: where it stands, and what the paper prints there; None where the row is a control of ours.

    `comparable` is False where our data differ so that only claims, not figures, can be held side by side.
    `rival` marks a row that the paper's method is held against: better than printed is then no success.
    `grid` is the heading of cells that stand in a grid of their own.
    """

    key: str
    row: str
    column: str
    published: Published | None = None
    comparable: bool = True
    rival: bool = False
    grid: str = ""


@dataclass(frozen=True)
class Claim:
    """`first` is at least as good as `second`, less `margin`; decided by a paired interval, never by hand."""

    says: str
    first: str  # keys of cells
    second: str
    margin: float = 0.0
    published: bool = True  # False: a question of ours


@dataclass(frozen=True)
class Preset:
    """How long, how often, on what.

    `sets` holds `--set` words by stage, such as "base" or "retrain"; `parts` which of the cells are run, and
    may grow without what is done being done again.
    """

    says: str
    seeds: tuple[int, ...]
    episodes: int
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Measured:
    """A score per episode, plain facts beside it, and the scores' means on the way as (x, y) points."""

    scores: Evaluation
    facts: Mapping[str, object] = field(default_factory=dict)
    curve: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Job:
    """What measures one cell under one seed."""

    key: str
    seed: int
    run: Callable[[Work], Measured]


@dataclass(frozen=True)
class Chart:
    """Lines through cells at x, or the curve that each of some cells has."""

    name: str
    label: str  # of x
    lines: Mapping[str, Sequence[tuple[float, str]]] = field(default_factory=dict)
    curves: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of a paper; `needs` are data sets that whoever runs it has to bring."""

    name: str
    title: str
    paper: str
    metric: Metric
    cells: tuple[Cell, ...]
    presets: Mapping[str, Preset]
    jobs: Callable[[Preset], Sequence[Job]]
    claims: tuple[Claim, ...] = ()
    tolerance: float = 0.01  # how far ours may lie from the paper's beyond both spreads
    differs: tuple[str, ...] = ()  # from the paper, in every preset
    charts: tuple[Chart, ...] = ()
    remarks: str = ""  # what was tried beside this
    scored: str = "test episodes"  # what a cell has a score of
    needs: tuple[str, ...] = ()
