"""Keep in fp16 what waits from forward to backward: shorten it behind its last reader, widen it for the next.

For values that are kept whole. Inputs of layers whose gradient takes their place are never whole where they
wait (`regrow.plan.layers`). What is not an activation, as a mean or a loss, stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from regrow.plan.builder import ARENA, Buffer, Builder, Call, Place, Word
from regrow.plan.halves import halves_floats

# Bytes from which a value is worth two more calls, and calls that it has to wait for.
LEAST, LONG = 4096, 4
# First float, channels, their stride, runs of each, floats of a run.
Runs = tuple[int, int, int, int, int]


def shortened(b: Builder, loss: Buffer) -> list[Call]:
    """The calls of a step, with those added that shorten and widen."""
    calls = list(b.calls["step"])
    turn = max((at for at, call in enumerate(calls) if loss in call.writes), default=len(calls))
    before: dict[int, list[Call]] = {}
    for buffer, runs in _activations(b).items():
        used = [at for at, call in enumerate(calls) if buffer in call.reads or buffer in call.writes]
        last = max((at for at in used if at <= turn), default=-1)
        following = min((at for at in used if at > turn), default=-1)
        if last < 0 or following - last < LONG or buffer not in calls[used[0]].writes:
            continue
        # Forward reads what backward will, so that a ReLU or a winner made again is the same.
        early, half, wide = _half(runs), _half(runs), Buffer(buffer.bytes)
        before.setdefault(used[0] + 1, [])[:0] = [
            _call("shorten", early, buffer, runs),
            _call("widen", buffer, early, runs),
        ]
        before.setdefault(last + 1, []).append(_call("shorten", half, buffer, runs))
        before.setdefault(following, []).append(_call("widen", wide, half, runs))
        calls[following:] = [_instead(call, buffer, wide) for call in calls[following:]]
    return [call for at in range(len(calls)) for call in (*before.get(at, ()), calls[at])]


def _half(runs: Runs) -> Buffer:
    _, channels, _, each, run = runs
    return Buffer(4 * halves_floats(channels * each * run, run))


def _call(op: str, to: Buffer, source: Buffer, runs: Runs) -> Call:
    total = max(to.bytes, source.bytes) // 4
    return Call(op, (to, source, *runs, total), (source,), (to,))


def _activations(b: Builder) -> dict[Buffer, Runs]:
    """Buffers of a program's values that have a row per sample, and how their floats lie."""
    fixed = {place.buffer for places in b.fixed.values() for place in places}
    found: dict[Buffer, Runs] = {}
    for name, places in b.places.items():
        value = b.values.get(name)
        if value is None or value.shape[:1] != (-1,) or value.dtype != "float32":
            continue
        for place in places:
            buffer = place.buffer
            if buffer.block == ARENA and not buffer.pinned and buffer not in fixed and buffer.bytes >= LEAST:
                found.setdefault(buffer, _runs(b, name, place))
    return found


def _runs(b: Builder, name: str, place: Place) -> Runs:
    if place.planes is None:
        shape = b.shape(name)
        run = prod(shape[2:]) if len(shape) > 2 else shape[-1]
        return 0, 1, b.size(name), b.size(name) // run, run
    grid, planes = place.planes.grid, place.planes.channels * place.planes.phases
    return grid.guard, planes, grid.channel, grid.samples, grid.sample


def _instead(call: Call, old: Buffer, new: Buffer) -> Call:
    """The same call on another buffer."""
    if old not in call.reads and old not in call.writes:
        return call

    def changed(buffers: Sequence[Buffer]) -> tuple[Buffer, ...]:
        return tuple(new if x is old else x for x in buffers)

    words: tuple[Word, ...] = tuple(new if w is old else w for w in call.words)
    return replace(
        call,
        words=words,
        reads=changed(call.reads),
        writes=changed(call.writes),
        inplace=changed(call.inplace),
    )
