"""What is carried from step to step: the next value takes the place of a value that nobody reads any more."""

from __future__ import annotations

from collections.abc import Sequence

from regrow.plan.arena import replaceable
from regrow.plan.builder import ARENA, Buffer, Builder, Section


def copy(b: Builder, to: Buffer, source: Buffer, section: Section | None = None) -> None:
    size = to.bytes
    b.emit("copy", (1, to, source, 0, 0, 1, size, 1, 1), (source,), (to,), section=section)


def hand_on(b: Builder, carried: Sequence[str]) -> list[tuple[Buffer, Buffer]]:
    """The next values become the values: in place where nobody reads the old, else copied after the step."""
    replaced: list[tuple[Buffer, Buffer]] = []
    copies: list[tuple[Buffer, Buffer]] = []
    for name in carried:
        now, places = b.fixed[name][0], b.places[f"next:{name}"]
        following = places[0].buffer if now.packed else b.plain(f"next:{name}")
        taken = following in [f for _, f in replaced] or following.block != ARENA or following.pinned
        if not taken and replaceable(b.calls["step"], now.buffer, following):
            replaced.append((now.buffer, following))
        elif following is not now.buffer:
            copies.append((now.buffer, following))
    if copies:
        _copy_all(b, copies)
    return replaced


def _copy_all(b: Builder, copies: Sequence[tuple[Buffer, Buffer]]) -> None:
    # A value that was handed on unchanged may itself be overwritten by an earlier copy.
    sources = []
    for now, following in copies:
        if following.pinned and following.block == ARENA:
            kept = Buffer(following.bytes)
            copy(b, kept, following)
            following = kept
        sources.append((now, following))
    for now, following in sources:
        copy(b, now, following)
