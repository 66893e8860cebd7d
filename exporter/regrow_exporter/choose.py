"""Choose among drafts by what was measured on the same episodes: a precision, or an adaptable set.

A choice is never a guess: what it rests on is recorded, and where nothing passes the export is refused.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regrow.errors import BudgetError, UnsupportedError
from regrow.model import Model
from regrow.values import Values
from regrow_exporter.budget import Budget
from regrow_exporter.draft import Draft, opened
from regrow_exporter.measure import ROUNDS, WARM_UP, Drawn, Measured, adapt_ms, delta_bytes, interval, measure
from regrow_exporter.programs import Programs
from regrow_exporter.stages import Part, Stages
from regrow_exporter.tables import figures, set_table

Row = dict[str, Any]


@dataclass(frozen=True)
class Chosen:
    """The draft, its scores where they are known, and what the manifest says about the choices."""

    draft: Draft
    measured: Measured | None
    record: dict[str, Any]


NOT_MEASURED = "not measured: no episodes were given"
# (adaptable parameters, precision, the programs of that set where they are there) -> a draft.
Make = Callable[[tuple[str, ...], Values, Programs | None], Draft]


def check_open(precision: str, max_drop: float, budgets: Sequence[Budget], episodes: object) -> None:
    """Refuse to leave open what only episodes can settle."""
    left = [f"budget {b.text!r}" for b in budgets] + (["precision 'auto'"] if precision == "auto" else [])
    if left and episodes is None:
        raise UnsupportedError(
            f"export: {', '.join(left)}: a choice by accuracy, expected episodes to measure it on; give some "
            "such as glyphs:val or a folder of labelled samples"
        )
    if not 0 <= max_drop < math.inf:
        raise UnsupportedError(f"export: max_drop={max_drop}, expected accuracy points, 0 or more")


def choose(
    make: Make,
    precisions: Sequence[Values],
    own: tuple[str, ...],
    sets: Mapping[str, tuple[str, ...]],
    drawn: Drawn | None,
    budgets: Sequence[Budget],
    max_drop: float,
    stages: Stages,
) -> Chosen:
    """First the adaptable set among `sets`, where there is a budget, then the precision where several may be.

    In this order, because sessions hold adaptable weights as fp32 whatever the file stores.
    """
    first, *others = precisions
    if drawn is not None and budgets:
        made = choose_set(lambda names: make(names, first, None), sets, drawn, budgets, stages)
    else:
        made = Chosen(make(own, first, None), None, {})
    if drawn is None or not others:
        return made
    names, programs = made.draft.learner.adaptable, made.draft.programs
    drafts = {first: made.draft} | {p: make(names, p, programs) for p in others}
    best = choose_precision(drafts, made.measured, drawn, max_drop, stages)
    return replace(best, record={**made.record, **best.record})


def stated(measured: Measured | None, drawn: Drawn | None, record: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says about the accuracy and the choices that rest on it."""
    if measured is None or drawn is None:
        return {"accuracy": NOT_MEASURED}
    choice = {"choice": reproducible(record)} if record else {}
    return {"accuracy": {"episodes": drawn.to_json(), **measured.to_json()}, **choice}


def measured_drafts(drafts: Sequence[Draft], drawn: Drawn, stages: Stages) -> list[Measured]:
    """Every draft on the same episodes."""
    with tempfile.TemporaryDirectory(prefix="regrow-") as folder:
        return _scores([opened(d, Path(folder, f"{i}.regrow")) for i, d in enumerate(drafts)], drawn, stages)


def _scores(models: Sequence[Model], drawn: Drawn, stages: Stages) -> list[Measured]:
    each = 2 * drawn.sizes["episodes"]
    with stages.counted("measuring on episodes", each * len(models)) as told:
        return [measure(model, drawn, Part(told, i * each)) for i, model in enumerate(models)]


def reproducible(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record without times, which no second run repeats, unless a time was what it was chosen by."""
    sets = record.get("adaptable")
    if sets is None or "ms" in sets["budgets"]:
        return dict(record)
    rows = [{key: value for key, value in row.items() if key != "ms"} for row in sets["rows"]]
    return {**record, "adaptable": {**sets, "rows": rows}}


def choose_precision(
    drafts: Mapping[Values, Draft], known: Measured | None, drawn: Drawn, max_drop: float, stages: Stages
) -> Chosen:
    """The fewest bytes of weights whose accuracy stays within `max_drop` points of the first of `drafts`.

    Judged by the upper end of the paired drop's 95 % interval, not by its mean: too few episodes then make
    the choice careful instead of lucky. `known` are the first one's scores where it was measured before.
    """
    if drawn.source.task == "regression":
        raise UnsupportedError(
            "export: precision 'auto' goes by accuracy, which a regression has not; name one"
        )
    first, *others = drafts
    fresh = [*others] if known else [*drafts]
    scores = dict(zip(fresh, measured_drafts([drafts[n] for n in fresh], drawn, stages), strict=True))
    scores |= {first: known} if known else {}
    rows = []
    for name, draft in sorted(drafts.items(), key=lambda item: item[1].weight_bytes):
        drop = scores[first].after.minus(scores[name].after)
        # The reference cannot drop below itself, however few the episodes are.
        passes = name == first or drop.mean + drop.half_width <= max_drop / 100
        row: Row = {"precision": name, "weight_bytes": draft.weight_bytes, **scores[name].to_json()}
        rows.append({**row, "drop": interval(drop), "passes": passes, "chosen": False})
    pick = next(row for row in rows if row["passes"])
    pick["chosen"] = True
    record = {"max_drop": max_drop / 100, "judged_by": "upper end of the 95 % interval", "rows": rows}
    picked = pick["precision"]
    return Chosen(drafts[picked], scores[picked], {"precision": record})


def choose_set(
    make: Callable[[tuple[str, ...]], Draft],
    sets: Mapping[str, tuple[str, ...]],
    drawn: Drawn,
    budgets: Sequence[Budget],
    stages: Stages,
) -> Chosen:
    """The adaptable set that fits every budget and gains the most per byte of what an adaptation needs.

    Bytes are those of the peak; those of the saved delta where only they are limited.
    """
    drafts, left_out = _drafts(make, sets, stages)
    with tempfile.TemporaryDirectory(prefix="regrow-") as folder:
        models = [opened(d, Path(folder, f"{i}.regrow")) for i, d in enumerate(drafts.values())]
        scores = _scores(models, drawn, stages)
        deltas = [delta_bytes(model, drawn, Path(folder)) for model in models]
        with stages.counted("timing", WARM_UP + ROUNDS) as told:
            times = adapt_ms(models, drawn, told)
        peaks = [model.peak_bytes(drawn.support) for model in models]
    per = "delta_bytes" if {b.figure for b in budgets} == {"delta_bytes"} else "peak_bytes"
    rows = []
    for label, peak, delta, ms, score in zip(drafts, peaks, deltas, times, scores, strict=True):
        row: Row = {"adaptable": label, "peak_bytes": peak, "delta_bytes": delta, "ms": ms.to_json()}
        row |= {**score.to_json(), "per_kilobyte": 1e3 * score.gain.mean / row[per]}
        rows.append({**row, "over": _over(row, budgets), "chosen": False})
    rows.sort(key=lambda row: (bool(row["over"]), -row["per_kilobyte"]))
    record = {
        "budgets": {b.figure: b.limit for b in budgets},
        "support": drawn.support,
        "per": per,
        "rows": rows,
        "left_out": left_out,
    }
    pick = _pick(record, budgets)
    return Chosen(drafts[pick], scores[list(drafts).index(pick)], {"adaptable": record})


def _drafts(
    make: Callable[[tuple[str, ...]], Draft], sets: Mapping[str, tuple[str, ...]], stages: Stages
) -> tuple[dict[str, Draft], dict[str, str]]:
    """A draft per set, and why the others have none, such as a layer that the loss does not depend on."""
    drafts: dict[str, Draft] = {}
    left_out: dict[str, str] = {}
    refused: UnsupportedError | None = None
    with stages.counted("drafting adaptable sets", len(sets)) as told:
        for i, (label, names) in enumerate(sets.items(), 1):
            try:
                drafts[label] = make(names)
            except UnsupportedError as error:
                left_out[label], refused = str(error), refused or error
            told.update(i)
    if refused is not None and not drafts:
        raise refused
    return drafts, left_out


def _over(row: Row, budgets: Sequence[Budget]) -> list[str]:
    """The budgets that the set does not keep; a time counts with the upper end of its interval."""
    return [b.text for b in budgets if _figure(row, b) > b.limit]


def _figure(row: Row, budget: Budget) -> float:
    return float(row["ms"]["high"] if budget.figure == "ms" else row[budget.figure])


def _pick(record: dict[str, Any], budgets: Sequence[Budget]) -> str:
    """The label of the best row that fits and gains something; marks it, or refuses with the table."""
    rows: list[Row] = record["rows"]
    fitting = [row for row in rows if not row["over"]]
    best = next((row for row in fitting if _gains(row)), None)
    if best is not None:
        best["chosen"] = True
        return str(best["adaptable"])
    asked = ", ".join(b.text for b in budgets)
    if fitting:
        problem = (
            f"none of the {len(fitting)} adaptable sets within {asked} gains accuracy that these episodes can"
        )
        problem += " tell from none; measure more of them, or raise the budget"
    else:
        near = min(rows, key=lambda row: max(_figure(row, b) / b.limit for b in budgets))
        problem = (
            f"none of {len(rows)} adaptable sets fits {asked} at {record['support']} support samples; the "
            f"nearest is {near['adaptable']} with {figures(near)}; raise the budget or adapt to fewer samples"
        )
    error = BudgetError(f"export: {problem}")
    error.add_note(set_table(record))
    raise error


def _gains(row: Row) -> bool:
    """Whether the 95 % interval of the gain lies above zero."""
    half = row["gain"]["half_width"]
    return half is not None and row["gain"]["mean"] - half > 0
