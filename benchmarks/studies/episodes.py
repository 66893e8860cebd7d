"""The users of a recipe's source, each as a source of its own, and the episodes that are drawn of them.

An episode depends on user, shots and number alone, so all methods see the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regrow.datasets.table import GroupedTable
from regrow.episodes import Episode, GroupSource, open_source, sample

VALIDATION_SEED, TEST_SEED, OTHERS_SEED = 101, 202, 303


def users(data: Mapping[str, Any], part: str, *, fresh: bool = False) -> dict[str, GroupedTable]:
    """Name -> source of this user alone; `data` is a recipe's section, `part` one of its three sources.

    Unless classes are `fresh`, new in every episode, an episode has to have all of them.
    """
    source = open_source(data[part], **data.get("args", {}))
    if not isinstance(source, GroupSource):
        raise SystemExit(
            f"source {data[part]!r}: has no users, expected one that has; name another in the recipe"
        )
    classes = tuple(source.classes)
    if data["n_way"] != len(classes) and not fresh:
        raise SystemExit(
            f"source {data[part]!r}: {len(classes)} classes, n_way is {data['n_way']}, expected all of them "
            "in every episode, so that an answer means the same before and after adapting; correct the recipe"
        )
    return {
        str(name): GroupedTable(classes, (name,), (source.group(i),))  # type: ignore[arg-type]
        for i, name in enumerate(source.groups)
    }


def drawn(
    user: GroupedTable, shots: int, queries: int, count: int, seed: int, ways: int | None = None
) -> list[Episode]:
    """`count` episodes of one user, of all classes or of `ways` of them."""
    return [sample(user, ways or user.n_classes, shots, queries, seed, index) for index in range(count)]
