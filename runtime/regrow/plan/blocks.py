"""Lowering of norm, activation and halving, joined or alone, and of their gradients."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from regrow.ops.schema import number
from regrow.plan.builder import NONE, Buffer, Builder, Place, bits, maybe, plain_view
from regrow.plan.grid import Planes
from regrow.plan.pointwise import Lower
from regrow.program import Attr, Op

_NORMS = ("batch", "given", "none")
View = tuple[int, int, int, int]


def _flat(b: Builder, name: str) -> View:
    """(n, c, 1, rest): without pooling, the rows of a plane are one long row."""
    n, c, *rest = b.shape(name)
    return n, c, 1, prod(rest)


def _read(b: Builder, name: str, pooled: bool) -> tuple[Place, View, View]:
    """Where a value is read: its place, extents and strides."""
    place = b.on_planes(name)
    if place is not None and place.planes is not None:
        return place, b.extents(name), place.planes.grid.view()
    b.plain(name)
    found = b.find(name, plain=True)
    assert found is not None
    extents = b.extents(name) if pooled else _flat(b, name)
    return found, extents, plain_view(extents)


def _write(b: Builder, name: str, like: Place | None, extents: View) -> tuple[Buffer, View, int, bool]:
    """A new buffer on the grid a convolution wants or else as `like`; its view, and floats if on a grid.

    No name: of a norm only the statistics are wanted, and what it answers is overwritten by what comes next.
    """
    if not name:
        return b.floats(prod(extents)), plain_view(extents), 0, like is not None and like.planes is None
    grid = b.wanted.get(name)
    if grid is None and like is not None and like.planes is not None and like.planes.extents == extents:
        grid = like.planes.grid
    if grid is not None:
        planes = Planes(grid, extents[1], extents[2], extents[3])
        same = like is not None and like.planes is not None and like.planes.grid == grid
        return b.new_planes(name, planes), grid.view(), planes.floats, same
    same = like is not None and like.planes is None
    return b.new(name), plain_view(extents), 0, same


def lower_block(b: Builder, op: Op) -> None:
    pooled, norm = bool(op.attrs["pooled"]), str(op.attrs["norm"])
    to_grid = op.outputs[0] in b.wanted
    place, extents, view = _read(b, op.inputs[0], pooled or to_grid)
    n, c, h, w = extents
    out = (n, c, h // 2, w // 2) if pooled else extents
    vectors = [b.plain(name) for name in op.inputs[1:]]
    affine, given = vectors[:2], vectors[2:]
    y, y_view, floats, same = _write(b, op.outputs[0], None if pooled else place, out)
    made = [b.new(name) if name else None for name in op.outputs[1:]]
    mean, var = given if norm == "given" else made
    words = (
        *(y, mean or NONE, var or NONE, place.buffer, *maybe(affine, 2), _NORMS.index(norm)),
        *(bits(number(op.attrs, "slope")), int(pooled), bits(number(op.attrs, "eps"))),
        *(*extents, *view, *y_view, floats),
    )
    writes = [y, *(x for x in made if x is not None)]
    b.emit("block", words, (place.buffer, *vectors), writes, (place.buffer,) if same and not pooled else ())


def lower_block_back(b: Builder, op: Op, scratch: Place | None = None) -> None:
    """`scratch`: dz takes the place of a z that is only there a few planes at a time."""
    pooled, norm = bool(op.attrs["pooled"]), str(op.attrs["norm"])
    dz_name, *others = op.outputs
    flat = not pooled and dz_name not in b.wanted and b.on_planes(op.inputs[0]) is None
    place, extents, view = _read(b, op.inputs[1], not flat)
    if flat and place.planes is not None:
        flat = False
    dy, _, dy_view = _read(b, op.inputs[0], not flat)
    vectors = [b.plain(name) for name in (op.inputs[2:6] if norm != "none" else ())]
    output = _read(b, op.inputs[-1], True) if len(op.inputs) in (3, 7) else None
    dz_view, floats, same = (0, 0, 0, 0), 0, False
    writes: list[Buffer] = []
    if scratch is not None and scratch.planes is not None:
        dz_view, floats = view, scratch.buffer.bytes // 4
        writes.append(scratch.buffer)
        b.put(dz_name, replace(scratch, planes=replace(scratch.planes, clean=True)))
    elif dz_name:
        made, dz_view, floats, same = _write(b, dz_name, place, extents)
        writes.append(made)
    sums = [b.new(name) if name else None for name in others]
    words = (
        *(*maybe(writes), *(x or NONE for x in sums), dy.buffer, place.buffer),
        *(*maybe(vectors, 4), _NORMS.index(norm), bits(number(op.attrs, "slope")), int(pooled)),
        *(bits(number(op.attrs, "eps")), *extents, *view, *dy_view, *dz_view, floats),
        *((output[0].buffer, *output[2]) if output else (NONE, 0, 0, 0, 0)),
    )
    writes += [x for x in sums if x is not None]
    inplace = (place.buffer,) if same and dz_name else ()
    reads = (dy.buffer, place.buffer, *vectors, *([output[0].buffer] if output else []))
    b.emit("block_back", words, reads, writes, inplace)


def lower_norm(b: Builder, op: Op) -> None:
    """A norm that nothing was joined to, as a block of its own."""
    norm = "batch" if op.kind == "batch_norm" else "given"
    attrs: dict[str, Attr] = {"norm": norm, "slope": 1.0, "pooled": False, "eps": op.attrs["eps"]}
    outputs = op.outputs if norm == "batch" else (*op.outputs, "", "")
    lower_block(b, Op("block", op.inputs, outputs, attrs, op.source))


def lower_norm_back(b: Builder, op: Op) -> None:
    """dy, x, gamma, mean, var: without an activation beta is not needed, so any vector may stand for it."""
    norm = "batch" if op.kind == "batch_norm_back" else "given"
    attrs: dict[str, Attr] = {"norm": norm, "slope": 1.0, "pooled": False, "eps": op.attrs["eps"]}
    dy, x, gamma, mean, var = op.inputs
    outputs = (*op.outputs, "")
    lower_block_back(b, Op("block_back", (dy, x, gamma, gamma, mean, var), outputs, attrs, op.source))


BLOCKS: dict[str, Lower] = {
    "block": lower_block,
    "block_back": lower_block_back,
    "batch_norm": lower_norm,
    "batch_norm_frozen": lower_norm,
    "batch_norm_back": lower_norm_back,
    "batch_norm_frozen_back": lower_norm_back,
}
