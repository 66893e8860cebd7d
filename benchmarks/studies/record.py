"""From scores per user to what is published: means, and paired differences with intervals over users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.studies.study import Study
from regrow.evaluate import Evaluation
from regrow_trainer.compare import difference

OURS = "ours"
Scores = Mapping[str, Mapping[str, Any]]  # user -> before, after, others


def after(users: Scores, shots: int) -> Evaluation:
    """A score per user, always in the same order."""
    return Evaluation(np.array([users[name]["after"][str(shots)] for name in sorted(users)]))


def value(users: Scores, key: str) -> Evaluation:
    """The same for what does not depend on shots: "before", "others", "others_before"."""
    return Evaluation(np.array([users[name][key] for name in sorted(users)]))


def gaps(study: Study, methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Ours minus every other method, in each number of shots: a paired bootstrap over users."""
    ours = methods[OURS]["users"]
    return {
        name: {
            str(shots): difference(after(method["users"], shots), after(ours, shots)).to_json()
            for shots in study.shots
        }
        for name, method in methods.items()
        if name != OURS
    }


def won(study: Study, methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """After minus before adapting, of every method that answers before it: over users, and on the others'."""
    made = {}
    for name, method in methods.items():
        users = method["users"]
        if any(user["before"] is None for user in users.values()):
            continue
        before = value(users, "before")
        made[name] = {
            "shots": {str(shots): difference(before, after(users, shots)).to_json() for shots in study.shots},
            "others": difference(value(users, "others_before"), value(users, "others")).to_json(),
        }
    return made
