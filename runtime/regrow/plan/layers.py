"""Lowering of a convolution joined with its block, and of the gradients of both, over a scratch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from regrow.ops.schema import number
from regrow.plan.blocks import lower_block, lower_block_back
from regrow.plan.builder import NONE, Buffer, Builder, Call, Place, Word, bits
from regrow.plan.chain import Chain
from regrow.plan.convs import grid_of, lower_conv, lower_conv_dw, lower_conv_dx
from regrow.plan.grid import LANES, Planes
from regrow.plan.halves import Halves
from regrow.plan.pointwise import Lower
from regrow.plan.style import Scratch, samples_at_once
from regrow.program import Op

# Planes of a scratch, by whether the weight is packed: as many filters as the kernel takes at once; and as
# many as make it worth while to widen the input once more, a quarter of the filters.
PLANES = {False: 4, True: 1}
HALF_PLANES = 8


def _captured(b: Builder, lower: Callable[[], None]) -> Call:
    """The last call that something emits, taken out again; what comes before it stays."""
    real = b.calls[b.section]
    b.calls[b.section] = []
    lower()
    made, b.calls[b.section] = b.calls[b.section], real
    real += made[:-1]
    return made[-1]


def _convolution(b: Builder, conv: Op, scratch: Scratch, wide: Place | None) -> tuple[Call, Place]:
    """The call that fills a scratch, and where that is."""
    b.places.pop(conv.outputs[0], None)  # a scratch of forward says nothing to backward
    made = _captured(b, lambda: lower_conv(b, conv, scratch, _wide(wide)))
    return made, b.places[conv.outputs[0]][0]


def _wide(place: Place | None) -> tuple[Buffer, Planes] | None:
    return None if place is None or place.planes is None else (place.buffer, place.planes)


def _output(b: Builder, block: Op) -> Halves:
    """What a block makes, as halves on the grid of who reads it."""
    name = block.outputs[0]
    _, c, h, w = b.extents(name)
    b.halves[name] = Halves.of(Planes(b.wanted[name], c, h, w))
    return b.halves[name]


def lower_chain(b: Builder, op: Op) -> None:
    assert isinstance(op, Chain)
    conv, block = op.parts
    packed = conv.inputs[1] in b.packs
    x = b.halves[conv.inputs[0]] if conv.inputs[0] in op.halved else None
    y = _output(b, block) if block.outputs[0] in op.halved else None
    wide = None
    if x:
        tile = samples_at_once(x.planes.grid, x.planes.channels, b.style.tile_bytes)
        wide = x.scratch(x.planes.channels, tile)
    plane = y.scratch(1, b.batch) if y else None
    planes = PLANES[packed]
    if x:
        planes = max(planes, min(HALF_PLANES, b.extents(conv.outputs[0])[1] // 4))
    stored = None if packed else b.stored.get(conv.inputs[1])
    rows = {conv.inputs[1]: b.floats(planes * stored.row)} if stored else {}
    b.rows = rows
    made, place = _convolution(b, conv, Scratch(planes, b.batch, LANES if x else 0), wide)
    b.rows = {}
    call = _captured(b, lambda: lower_block(b, block, plane))
    head: tuple[Word, ...] = (planes, int(made.op == "conv_sparse"), len(made.words))
    scratches = [place.buffer, *rows.values(), *(p.buffer for p in (wide, plane) if p)]
    if not x and not y and not stored:
        return _emit(b, op.kind, (*head, *made.words, *call.words), (made, call), scratches)
    of_x, of_y, of_w = (
        _words(x, wide),
        _words(y, plane),
        [w for n, to in rows.items() for w in b.stored[n].words(n, to)],
    )
    words = (*head, len(of_x), len(of_y), len(of_w), *made.words, *of_x, *of_y, *of_w, *call.words)
    reads = [w for w in of_w if isinstance(w, Buffer) and w not in scratches] + ([x.buffer] if x else [])
    calls = [made, call, Call("", (), tuple(reads), (y.buffer,) if y else ())]
    return _emit(b, f"{op.kind}_half", words, calls, scratches)


def _words(halves: Halves | None, scratch: Place | None) -> tuple[Word, ...]:
    return halves.words(scratch) if halves and scratch else ()


def lower_chain_back(b: Builder, op: Op) -> None:
    assert isinstance(op, Chain)
    conv, back, weight, *inputs = op.parts
    planes = b.extents(conv.outputs[0])[1] if inputs else PLANES[conv.inputs[1] in b.packs]
    x = b.halves[conv.inputs[0]] if conv.inputs[0] in op.halved else None
    dy = b.halves[back.inputs[0]] if back.inputs[0] in op.halved else None
    most = b.tiles.get(id(op), b.style.tile_bytes)
    tile = samples_at_once(grid_of(b, conv), planes + (x.planes.channels if x else 0), most)
    wide = x.scratch(x.planes.channels, tile) if x else None
    above = dy.scratch(1, tile) if dy else None
    made, place = _convolution(b, conv, Scratch(planes, tile), wide)
    assert place.planes is not None
    wanted = [f"{back.inputs[1]}:{n}" if back.attrs["norm"] != "none" else "" for n in ("gamma", "beta")]
    for name, like in zip(wanted, back.inputs[2:4], strict=False):
        b.values = {**b.values, name: b.values[like]}
    sums = tuple(n or w for n, w in zip(back.outputs[1:3], wanted, strict=True))
    named = replace(back, outputs=(back.outputs[0], *sums, *back.outputs[3:]))
    calls = [made, _captured(b, lambda: lower_block_back(b, named, place, above))]
    calls.append(_captured(b, lambda: lower_conv_dw(b, weight, place, _wide(wide))))
    dx_words: tuple[Word, ...] = ()
    kind, scratches = 0, [place.buffer, *(p.buffer for p in (wide, above) if p)]
    if inputs:
        call, words, dx, writes = _input_gradient(b, op, inputs[0], place, wide)
        kind, dx_words = 1 + int(call.op == "conv_sparse"), (*words, *call.words)
        calls.append(Call(call.op, call.words, (*call.reads, writes[0]), (*writes, dx)))
        scratches.append(dx)
    given = b.places[_sums_of(back)][0].buffer if op.summed else NONE
    head = (
        planes,
        int(made.op == "conv_sparse"),
        int(calls[2].op == "conv_sparse_dw"),
        tile,
    )
    sizes = (*(len(call.words) for call in calls[:3]), kind, len(dx_words), given, 0)
    body = (*(w for call in calls[:3] for w in call.words), *dx_words)
    reads = [given] if isinstance(given, Buffer) else []
    if not x and not dy:
        return _emit(b, op.kind, (*head, *sizes, *body), calls, scratches, reads)
    of_x, of_dy = _words(x, wide), _words(dy, above)
    words = (*head, *sizes, len(of_x), len(of_dy), *body, *of_x, *of_dy)
    reads += [h.buffer for h in (x, dy) if h]
    return _emit(b, f"{op.kind}_half", words, calls, scratches, reads)


def _sums_of(back: Op) -> str:
    return f"{back.inputs[0]}:sums"


def _input_gradient(
    b: Builder, op: Chain, dx: Op, source: Place, wide: Place | None
) -> tuple[Call, tuple[Word, ...], Buffer, list[Buffer]]:
    """The call into a scratch, the words before its own, that scratch, and what is written beside it."""
    x, grid = op.parts[0].inputs[0], grid_of(b, op.parts[0])
    place = wide or next(p for p in b.places[x] if p.planes is not None and p.planes.grid == grid)
    assert source.planes is not None
    assert place.planes is not None
    planes = 2 * PLANES[dx.inputs[1] in b.packs]
    scratch = Scratch(planes, source.planes.grid.samples)
    call = _captured(b, lambda: lower_conv_dx(b, dx, source, scratch))
    made = b.places.pop(dx.outputs[0])[0]
    if wide:
        b.halves[dx.outputs[0]] = b.halves[x]
    else:
        b.put(dx.outputs[0], place)
    writes, slope = [b.halves[x].buffer if wide else place.buffer], 1.0
    sums: Word = NONE
    beta: Word = NONE
    if op.before is not None:
        total = b.floats(2 * b.extents(x)[1])
        b.put(_sums_of(op.before), Place(total))
        writes.append(total)
        sums, slope = total, number(op.before.attrs, "slope")
        if op.before.attrs["norm"] != "none":
            beta = b.plain(op.before.inputs[3])
    words = (planes, place.buffer, *place.planes.grid.view(), bits(slope), beta, sums)
    reads = (*call.reads, *(x for x in (beta,) if isinstance(x, Buffer)))
    return Call(call.op, call.words, reads, call.writes), words, made.buffer, writes


def _emit(
    b: Builder,
    kind: str,
    words: tuple[Word, ...],
    calls: Sequence[Call],
    scratches: Sequence[Buffer],
    reads: Sequence[Buffer] = (),
) -> None:
    """One call of several; what the last but one makes is what others wait for, so it comes first."""
    read = [x for call in calls for x in call.reads if x not in scratches]
    written = [x for call in calls[::-1] for x in call.writes if x not in scratches]
    first = next((x for call in calls if call.op.endswith("dw") for x in call.writes), written[0])
    order = dict.fromkeys((first, *written, *scratches))
    b.emit(kind, words, dict.fromkeys((*read, *reads)), order)


LAYERS: dict[str, Lower] = {"chain": lower_chain, "chain_back": lower_chain_back}
