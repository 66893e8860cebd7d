"""From programs and a batch size to a plan: words for the core, and the exact size of its arena."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow.errors import BudgetError
from regrow.plan.arena import SECTIONS, Layout, find, lay_out
from regrow.plan.blocks import BLOCKS
from regrow.plan.builder import ARENA, CONSTANTS, NONE, Buffer, Builder, Call, Place, Section, Word
from regrow.plan.carry import copy, hand_on
from regrow.plan.convs import CONVS, shared_pads, wanted
from regrow.plan.fuse import fused
from regrow.plan.kept import Kept, forward, packs
from regrow.plan.layers import LAYERS
from regrow.plan.lifted import lifted
from regrow.plan.moving import MOVES
from regrow.plan.order import hoisted
from regrow.plan.peak import value_bytes
from regrow.plan.pointwise import MAPS, Lower
from regrow.plan.stored import Stored
from regrow.plan.style import STYLES, Style
from regrow.plan.tiles import free_tiles
from regrow.plan.waiting import shortened
from regrow.program import Op, Program

LOWER: dict[str, Lower] = {**MAPS, **MOVES, **CONVS, **BLOCKS, **LAYERS}
MAGIC, VERSION = 0x52475257, 1
NOTHING: Mapping[str, Stored] = MappingProxyType({})
Code = Callable[[str, str], int]


@dataclass(frozen=True, eq=False)
class Plan:
    """What the core runs: calls in three lists, buffers with their places, and what the caller brings along.

    `blocks[0]` is the arena; `lists` are the blocks that the plan itself provides.
    """

    calls: Mapping[Section, Sequence[Call]]
    layout: Layout
    blocks: tuple[str, ...]
    lists: Mapping[str, NDArray[Any]]
    step_number: Buffer | None = None
    loss: Buffer | None = None
    losses: str = ""
    carried: Mapping[str, Buffer] = field(default_factory=dict)
    _values: dict[tuple[int, int, int], int] = field(default_factory=dict)

    @property
    def arena_bytes(self) -> int:
        return self.layout.bytes

    def words(self, code: Code) -> NDArray[np.uint32]:
        """The plan as the core reads it; `code` knows the core's numbers."""
        lists = [[w for call in self.calls[s] for w in self._call(call, code)] for s in SECTIONS]
        ends = [NONE if b is None else self._value(b) for b in (self.step_number, self.loss)]
        ends.append(self.blocks.index(self.losses) if self.losses else NONE)
        table = [number for entry in self._values for number in entry]
        total = 13 + len(table) + sum(map(len, lists))
        header = [MAGIC, VERSION, total, self.arena_bytes & NONE, self.arena_bytes >> 32]
        header += [len(self._values), len(self.blocks), *map(len, lists), *ends]
        return np.array([*header, *table, *(w for words in lists for w in words)], np.int64).astype(np.uint32)

    def _call(self, call: Call, code: Code) -> list[int]:
        made = [self._word(word, code) for word in call.words]
        return [code("op", call.op), len(made), *made]

    def _word(self, word: Word, code: Code) -> int:
        if isinstance(word, Buffer):
            return self._value(word)
        if isinstance(word, str):
            table, _, name = word.partition(":")
            return code(table, name)
        return word & NONE

    def _value(self, buffer: Buffer) -> int:
        held = find(self.layout.root, buffer)
        entry = (self.blocks.index(held.block), held.offset, held.bytes)
        return self._values.setdefault(entry, len(self._values))


def missing(programs: Mapping[str, Program]) -> dict[str, str]:
    """The kinds of op that no lowering exists for, each with a place in the user's model."""
    ops = (op for program in programs.values() for op in program.ops)
    return {op.kind: op.source for op in ops if op.kind not in LOWER}


def plan_adapt(
    programs: Mapping[str, Program],
    batch: int,
    kept: Mapping[str, Kept],
    *,
    style: Style = STYLES["fast"],
    packed: bool = False,
    stored: Mapping[str, Stored] = NOTHING,
) -> Plan:
    """Everything an adaptation runs: load, prefix, steps, finish, store.

    `packed`: what is packed is handed over as its kept positions, and what is carried stays in the arena,
    where `Plan.carried` says, for the caller to take.
    """
    stages, kept = lifted({name: programs[name] for name in ("prefix", "step", "finish")}, kept)
    b = _builder(stages, batch, kept, style, stored)
    step_number = _externals(b, stages, carried=True, packed=packed)
    carried = [n for n, v in stages["step"].values.items() if f"next:{n}" in stages["step"].outputs and v]
    for name in carried:
        if packed or not b.fixed[name][0].packed:
            _load(b, name)
    _run(b, "once", stages["prefix"])
    for name in stages["prefix"].outputs:
        b.fixed.setdefault(name, b.places[name])
    _run(b, "step", stages["step"], hoisted)
    loss = b.plain("loss")
    loss.pinned = True
    replaced = hand_on(b, carried)
    shorter = shortened(b, loss) if style.half else []
    _run(b, "finish", stages["finish"])
    for name in () if packed else carried:
        _store(b, name)
    outputs = [n for n in stages["finish"].outputs if n != "loss"]
    for name, block in [*((n, f"out:{n}") for n in outputs), ("loss", "out:final_loss")]:
        _out(b, name, block)
    if shorter and lay_out(b.calls | {"step": shorter}, replaced).bytes < lay_out(b.calls, replaced).bytes:
        b.calls["step"] = shorter
    held = {name: b.fixed[name][0].buffer for name in carried}
    return _finished(b, replaced, step_number, loss, "out:losses", held)


def plan_predict(
    program: Program,
    batch: int,
    kept: Mapping[str, Kept],
    outputs: Sequence[str] = ("logits",),
    *,
    style: Style = STYLES["fast"],
    packed: bool = False,
    stored: Mapping[str, Stored] = NOTHING,
) -> Plan:
    """One pass through a program; `packed` as in `plan_adapt`. Nothing waits in it, so nothing is rounded."""
    stages, kept = lifted({"predict": program}, kept)
    b = _builder(stages, batch, kept, replace(style, half=False), stored)
    _externals(b, stages, carried=False, packed=packed)
    _run(b, "once", stages["predict"])
    for name in outputs:
        _out(b, name, f"out:{name}")
    return _finished(b, [])


def _builder(
    stages: Mapping[str, Program],
    batch: int,
    kept: Mapping[str, Kept],
    style: Style,
    stored: Mapping[str, Stored],
) -> Builder:
    owner = packs(stages, kept)
    return Builder(
        batch,
        shared_pads(stages.values(), batch, owner, style.wide),
        packs={name: kept[weight].count for name, weight in owner.items()},
        owner=owner,
        kept=kept,
        style=style,
        stored=stored,
    )


def _externals(b: Builder, stages: Mapping[str, Program], *, carried: bool, packed: bool) -> Buffer | None:
    """Everything the caller hands over lies where it is; what changes gets a place in the arena."""
    step_number = None
    for program in stages.values():
        for name in program.inputs:
            value = program.values[name]
            if name in b.fixed or (name in stages.get("prefix", program).outputs and "prefix" in stages):
                continue
            b.values = program.values
            if name in b.stored:
                b.fixed[name] = []
            elif name == "step":
                step_number = Buffer(8, pinned=True)
                b.fixed[name] = [Place(step_number)]
            elif name in b.packs:
                changes = carried and value.role in ("adaptable", "state")
                outside = packed and not changes
                buffer = Buffer(4 * b.packs[name], name if outside else ARENA, pinned=changes or outside)
                b.fixed[name] = [Place(buffer, packed=b.packs[name])]
                if not packed:
                    _pick(b, name, buffer, value_bytes(value, b.batch))
            elif carried and value.role in ("adaptable", "state"):
                b.fixed[name] = [Place(Buffer(value_bytes(value, b.batch), pinned=True))]
            else:
                b.fixed[name] = [Place(Buffer(value_bytes(value, b.batch), name, pinned=True))]
    return step_number


def _pick(b: Builder, name: str, packed: Buffer, size: int) -> None:
    """The kept positions of a dense value."""
    weight = b.owner[name]
    positions = b.listed(f"kept:{weight}:positions", forward(b.kept[weight]).order)
    dense = Buffer(size, name, pinned=True)
    words = (packed, dense, positions, b.packs[name], size // 4)
    b.emit("pick", words, (dense, positions), (packed,), section="once")


def _load(b: Builder, name: str) -> None:
    """What is carried starts as the caller's."""
    buffer = b.fixed[name][0].buffer
    copy(b, buffer, Buffer(buffer.bytes, name, pinned=True), "once")


def _store(b: Builder, name: str) -> None:
    place = b.fixed[name][0]
    if not place.packed:
        return copy(b, Buffer(place.buffer.bytes, f"out:{name}", pinned=True), place.buffer)
    positions = b.listed(f"kept:{b.owner[name]}:positions", forward(b.kept[b.owner[name]]).order)
    size = b.kept[b.owner[name]].mask.size
    before, after = Buffer(4 * size, name, pinned=True), Buffer(4 * size, f"out:{name}", pinned=True)
    words = (after, before, place.buffer, positions, place.packed, size)
    b.emit("place", words, (before, place.buffer, positions), (after,))
    return None


def _out(b: Builder, name: str, block: str) -> None:
    source = b.plain(name)
    copy(b, Buffer(source.bytes, block, pinned=True), source)


def _run(
    b: Builder,
    section: Section,
    program: Program,
    order: Callable[[Sequence[Op], Program], list[Op]] | None = None,
) -> None:
    """Lower one program into a section."""
    b.enter(section, program)
    ops = fused(program, b.style, b.batch, b.packs)
    if order is not None:
        ops = order(ops, program)
    b.wanted = wanted(b, ops)
    b.tiles = {} if b.style.tile_bytes else free_tiles(b, ops)
    for op in ops:
        LOWER[op.kind](b, op)


def _finished(
    b: Builder,
    replaced: Sequence[tuple[Buffer, Buffer]],
    step_number: Buffer | None = None,
    loss: Buffer | None = None,
    losses: str = "",
    carried: Mapping[str, Buffer] = MappingProxyType({}),
) -> Plan:
    reads = {x for calls in b.calls.values() for call in calls for x in call.reads}
    if step_number not in reads:
        step_number = None
    layout = lay_out(b.calls, replaced)
    if layout.bytes >= 2**32:
        raise BudgetError(
            f"plan: an arena of {layout.bytes} bytes for {b.batch} samples, expected less than {2**32}; "
            "give fewer samples"
        )
    if b.constants:
        b.lists[CONSTANTS] = np.frombuffer(bytes(b.constants), np.uint8)
    used = {x.block for calls in b.calls.values() for call in calls for x in (*call.reads, *call.writes)}
    used |= {losses} if losses else set()
    return Plan(
        b.calls, layout, (ARENA, *sorted(used - {ARENA})), b.lists, step_number, loss, losses, carried
    )
