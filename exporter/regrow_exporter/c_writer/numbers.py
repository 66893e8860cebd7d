"""The core's own numbers, read from its header: which word stands for which op or function."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from regrow.errors import UnsupportedError
from regrow.plan.make import Plan

_LISTS = {
    "op": ("REGROW_OPS", "USES_OP_"),
    "map": ("REGROW_MAPS", "USES_MAP_"),
    "map_back": ("REGROW_MAPS_BACK", "USES_MAP_"),
    "binary": ("REGROW_BINARIES", "USES_BINARY_"),
}


def core_folder() -> Path:
    """The core's sources: beside this package in an installed one, in the repository else."""
    here = Path(__file__).resolve().parent
    for folder in (here / "core", here.parents[2] / "runtime" / "native"):
        if (folder / "regrow.h").exists():
            return folder
    raise UnsupportedError(
        "C: the core's sources are not here, expected with the package; install regrow again"
    )


@cache
def tables() -> Mapping[str, Mapping[str, int]]:
    """Name and number of every op and function."""
    text = (core_folder() / "regrow.h").read_text(encoding="utf-8").replace("\\\n", " ")
    made = {}
    for table, (macro, _) in _LISTS.items():
        found = re.search(rf"#define {macro}\(X\)(.*)", text)
        names = re.findall(r"X\((\w+)\)", found.group(1)) if found else []
        made[table] = {name: number for number, name in enumerate(names)}
    return made


def code(table: str, name: str) -> int:
    """The number of an op or function."""
    return tables()[table][name]


def used(plans: list[Plan]) -> set[str]:
    """Every op and function the plans call, as the core's switches are called."""
    calls = [call for plan in plans for section in plan.calls.values() for call in section]
    found = {_LISTS["op"][1] + call.op for call in calls}
    for call in calls:
        for word in call.words:
            if isinstance(word, str):
                table, _, name = word.partition(":")
                found.add(_LISTS[table][1] + name)
    return found


def switches(plans: list[Plan]) -> str:
    """The header that builds those ops and no others."""
    wanted = used(plans)
    lines = ["/* model_ops.h - the ops and functions this model runs; the others are not built. */", "enum {"]
    for table, (_, prefix) in _LISTS.items():
        lines += [f"    {prefix}{name} = {int(prefix + name in wanted)}," for name in tables()[table]]
    return "\n".join([*lines, "};", ""])
