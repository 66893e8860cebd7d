"""From scores per user to what is published: paired differences, with intervals over people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.papers.judge import student
from benchmarks.studies import STUDIES
from benchmarks.studies.study import load, plain_data
from regrow.evaluate import Evaluation
from regrow_trainer.compare import Difference, difference

OURS = "ours"
Record = Mapping[str, Any]
# What a page says of a study, whatever it was called when it was run.
_WORDS = ("title", "question", "unit", "split", "query", "protocol", "features_are")
_MEANS = ("of_people", "fresh", "of")


def recorded(results: Path) -> dict[str, Record]:
    """The records there are, in the order of the studies, in the words that these have today."""
    paths = {name: results / f"{name}.json" for name in STUDIES}
    return {
        name: told(json.loads(path.read_text(encoding="utf-8")), plain_data(load(name)))
        for name, path in paths.items()
        if path.exists()
    }


def told(record: Record, study: Mapping[str, Any]) -> Record:
    """A record with the study's own words."""
    return {**record, "study": {**record["study"], **{key: study[key] for key in (*_WORDS, *_MEANS)}}}


def ahead(record: Record, method: str, shots: int) -> Difference:
    """Ours minus another method, after so many shots."""
    return _between(record, method, OURS, ("after", str(shots)), ("after", str(shots)))


def forgotten(record: Record, method: str) -> Difference | None:
    """What adapting to one user does to the others; None where a method says nothing before."""
    if any("others" not in user for user in record["methods"][method]["users"].values()):
        return None
    return _between(record, method, method, ("others_before",), ("others",))


def people(record: Record) -> dict[str, list[str]]:
    """Whose the units are: a person may have several devices, which say little more than one."""
    made: dict[str, list[str]] = {}
    for name in sorted(record["users"]):
        made.setdefault(name.rpartition(" ")[0] if record["study"]["of_people"] else name, []).append(name)
    return made


def _between(
    record: Record, first: str, second: str, of_first: tuple[str, ...], of_second: tuple[str, ...]
) -> Difference:
    """Second minus first per person, in the wider interval of a paired bootstrap and of Student's t."""
    before, after = (
        _per_person(record, method, keys) for method, keys in ((first, of_first), (second, of_second))
    )
    found, half = difference(before, after), student(after.minus(before).scores.tolist())
    return replace(found, low=min(found.low, found.mean - half), high=max(found.high, found.mean + half))


def _per_person(record: Record, method: str, keys: tuple[str, ...]) -> Evaluation:
    users = record["methods"][method]["users"]

    def value(name: str) -> float:
        found: Any = users[name]
        for key in keys:
            found = found[key]
        return float(found)

    return Evaluation(np.array([np.mean([value(n) for n in names]) for names in people(record).values()]))
