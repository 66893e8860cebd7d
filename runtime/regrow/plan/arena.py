"""Lifetimes of buffers over the calls of a plan, memory shared where they allow it, an offset for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from regrow.plan.builder import ARENA, Buffer, Call, Section

ALIGNMENT = 64
SECTIONS: tuple[Section, ...] = ("once", "step", "finish")


@dataclass
class Life:
    """A buffer's memory is its own from the call `first` to the call `last`."""

    first: int
    last: int
    bytes: int


@dataclass(frozen=True, eq=False)
class Layout:
    """Which buffer stands for which, how long each of those lives, and the size of the arena."""

    root: Mapping[Buffer, Buffer]
    lives: Mapping[Buffer, Life]
    bytes: int


def lay_out(calls: Mapping[Section, Sequence[Call]], replaced: Iterable[tuple[Buffer, Buffer]]) -> Layout:
    """Give every arena buffer its offset. `replaced` are (now, next): the next value takes the memory."""
    timeline = [(section, call) for section in SECTIONS for call in calls[section]]
    ends = _section_ends(calls)
    lives = _lives(timeline, ends)
    root = {following: now for now, following in replaced}
    for at, (_, call) in enumerate(timeline):
        _share(at, call, lives, root)
    size = _place({b: life for b, life in lives.items() if b not in root})
    for buffer in root:
        buffer.offset = find(root, buffer).offset
    return Layout(root, lives, size)


def find(root: Mapping[Buffer, Buffer], buffer: Buffer) -> Buffer:
    """The buffer whose memory it is."""
    while buffer in root:
        buffer = root[buffer]
    return buffer


def _section_ends(calls: Mapping[Section, Sequence[Call]]) -> dict[Section, int]:
    """One past the last call of each section."""
    once = len(calls["once"])
    step = once + len(calls["step"])
    return {"once": once, "step": step, "finish": step + len(calls["finish"])}


def _lives(timeline: Sequence[tuple[Section, Call]], ends: Mapping[Section, int]) -> dict[Buffer, Life]:
    lives: dict[Buffer, Life] = {}
    born: dict[Buffer, Section] = {}
    for at, (section, call) in enumerate(timeline):
        for buffer in dict.fromkeys((*call.reads, *call.writes)):
            if buffer.block != ARENA:
                continue
            if buffer not in lives:
                lives[buffer], born[buffer] = Life(at, at, buffer.bytes), section
            # Steps repeat: what one of them reads of an earlier section has to outlive them all.
            outlives = section == "step" and born[buffer] != "step"
            lives[buffer].last = max(lives[buffer].last, ends["step"] - 1 if outlives else at)
            if buffer.pinned:
                lives[buffer] = Life(0, ends["finish"], buffer.bytes)
    return lives


def replaceable(step: Sequence[Call], now: Buffer, following: Buffer) -> bool:
    """Whether a carried value's next one may take its memory: it is made last, or read by what makes it."""
    made = next((at for at, call in enumerate(step) if call.writes[0] is following), None)
    if made is None or following.bytes != now.bytes:
        return False
    readers = [(at, call) for at, call in enumerate(step) if now in call.reads]
    return not any(at > made or (at == made and now not in call.inplace) for at, call in readers)


def _share(at: int, call: Call, lives: dict[Buffer, Life], root: dict[Buffer, Buffer]) -> None:
    """Let a call's result take the memory of an operand that dies with it."""
    made = call.writes[0]
    if made.block != ARENA or made.pinned or made in root or lives[made].first != at:
        return
    for operand in call.inplace:
        held = find(root, operand)
        if held.block == ARENA and not held.pinned and held.bytes == made.bytes and lives[held].last == at:
            root[made] = held
            lives[held].last = max(lives[held].last, lives[made].last)
            return


def _place(lives: Mapping[Buffer, Life]) -> int:
    """Largest first, each at the lowest offset free while it lives; the best of two orders."""
    orders = (
        sorted(lives, key=lambda b: (-lives[b].bytes, lives[b].first)),
        sorted(lives, key=lambda b: (lives[b].first - lives[b].last, -lives[b].bytes)),
    )
    tried = [_first_fit(order, lives) for order in orders]
    size, offsets = min(tried, key=lambda t: t[0])
    for buffer, offset in offsets.items():
        buffer.offset = offset
    return size


def _first_fit(order: Sequence[Buffer], lives: Mapping[Buffer, Life]) -> tuple[int, dict[Buffer, int]]:
    offsets: dict[Buffer, int] = {}
    size = 0
    for buffer in order:
        life = lives[buffer]
        taken = sorted(
            (offset, offset + lives[other].bytes)
            for other, offset in offsets.items()
            if lives[other].first <= life.last and life.first <= lives[other].last
        )
        at = 0
        for start, stop in taken:
            if start - at >= life.bytes:
                break
            at = max(at, -(-stop // ALIGNMENT) * ALIGNMENT)
        offsets[buffer] = at
        size = max(size, at + life.bytes)
    return size, offsets
