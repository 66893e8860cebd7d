"""What lowering writes into: buffers, calls of the core's ops, and where each value of a program lies.

A value may lie in more than one layout at once: plain (C order), on planes of a grid, or packed (kept
positions only). Whoever needs another layout asks for it, and the conversion is emitted on demand.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, Literal, cast

from numpy.typing import NDArray

from regrow.plan.grid import LANES, Grid, Planes, same_grid
from regrow.plan.style import STYLES, Style
from regrow.program import Program, Value

if TYPE_CHECKING:
    from regrow.plan.kept import Kept

ARENA = "arena"
CONSTANTS = "constants"
NONE = 0xFFFFFFFF
ITEM = {"float32": 4, "int64": 8, "bool": 1, "uint8": 1}
Section = Literal["once", "step", "finish"]


@dataclass(eq=False)
class Buffer:
    """Bytes in a block. Arena buffers get their offset when lifetimes are known."""

    bytes: int
    block: str = ARENA
    offset: int = 0
    pinned: bool = False  # alive from beginning to end


# A name "table:item" stands for the core's number of it.
Word = int | Buffer | str


@dataclass(eq=False)
class Call:
    """One op of the core; `inplace` are the reads that may share memory with the first write."""

    op: str
    words: tuple[Word, ...]
    reads: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]
    inplace: tuple[Buffer, ...] = ()


@dataclass(frozen=True, eq=False)
class Place:
    """Where a value lies: plain, on planes, or as its kept positions."""

    buffer: Buffer
    planes: Planes | None = None
    packed: int = 0

    @property
    def items(self) -> int:
        """Floats of the buffer, pads included."""
        return self.planes.floats if self.planes else self.packed


def bits(number: float) -> int:
    """A float as the word that holds it."""
    return int(struct.unpack("<I", struct.pack("<f", number))[0])


def maybe(buffers: Sequence[Buffer], count: int = 1) -> tuple[Word, ...]:
    """Operands that may be left out, all of them or none."""
    return tuple(buffers) or (NONE,) * count


def strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Of a contiguous array, in elements."""
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def plain_view(shape: Sequence[int]) -> tuple[int, int, int, int]:
    """First element and strides of channel, sample and row of a contiguous (n, c, h, w)."""
    _, c, h, w = shape
    return 0, h * w, c * h * w, w


@dataclass(eq=False)
class Builder:
    """The calls of one plan, in three sections, and where the values of the program at hand lie."""

    batch: int
    pads: Mapping[tuple[int, int], tuple[int, int]]
    calls: dict[Section, list[Call]] = field(default_factory=lambda: {"once": [], "step": [], "finish": []})
    section: Section = "once"
    places: dict[str, list[Place]] = field(default_factory=dict)
    fixed: dict[str, list[Place]] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)
    packs: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, Kept] = field(default_factory=dict)
    owner: Mapping[str, str] = field(default_factory=dict)
    lists: dict[str, NDArray[Any]] = field(default_factory=dict)
    style: Style = STYLES["fast"]
    wanted: Mapping[str, Grid] = field(default_factory=dict)
    constants: bytearray = field(default_factory=bytearray)
    _numbers: dict[bytes, Buffer] = field(default_factory=dict)

    def enter(self, section: Section, program: Program) -> None:
        """Begin a program. What the earlier ones left for all is known; their temporaries are not."""
        self.section, self.values = section, program.values
        self.places = {name: list(places) for name, places in self.fixed.items()}

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].at(self.batch)

    def size(self, name: str) -> int:
        return prod(self.shape(name))

    def item(self, name: str) -> int:
        return ITEM[self.values[name].dtype]

    def floats(self, count: int) -> Buffer:
        """A new arena buffer of so many floats."""
        return Buffer(4 * count)

    def listed(self, name: str, array: NDArray[Any]) -> Buffer:
        """An array the engine has to bring along, as a block of its own."""
        self.lists[name] = array
        return Buffer(array.nbytes, name, pinned=True)

    def constant(self, data: bytes) -> Buffer:
        """A buffer of the constants block; equal data is stored once."""
        if data not in self._numbers:
            self.constants += b"\0" * (-len(self.constants) % 8)
            self._numbers[data] = Buffer(len(data), CONSTANTS, len(self.constants), pinned=True)
            self.constants += data
        return self._numbers[data]

    def number(self, value: float) -> Buffer:
        return self.constant(struct.pack("<f", value))

    def emit(
        self,
        op: str,
        words: Iterable[object],
        reads: Iterable[Buffer],
        writes: Iterable[Buffer],
        inplace: Iterable[Buffer] = (),
        section: Section | None = None,
    ) -> None:
        call = Call(op, cast(tuple[Word, ...], tuple(words)), tuple(reads), tuple(writes), tuple(inplace))
        self.calls[section or self.section].append(call)

    def put(self, name: str, place: Place) -> Place:
        """Say where a value lies."""
        self.places.setdefault(name, []).append(place)
        return place

    def new(self, name: str) -> Buffer:
        """A buffer for a value in plain layout."""
        return self.put(name, Place(Buffer(self.size(name) * self.item(name)))).buffer

    def new_planes(self, name: str, planes: Planes) -> Buffer:
        return self.put(name, Place(self.floats(planes.floats), planes)).buffer

    def new_packed(self, name: str) -> Buffer:
        count = self.packs[name]
        return self.put(name, Place(Buffer(count * self.item(name)), packed=count)).buffer

    def find(self, name: str, *, plain: bool = False, grid: Grid | None = None) -> Place | None:
        """An existing place in a layout."""
        for place in self.places[name]:
            if plain and place.planes is None and not place.packed:
                return place
            if grid is not None and place.planes is not None and place.planes.grid == grid:
                return place
        return None

    def on_planes(self, name: str) -> Place | None:
        """Any place on planes of stride one."""
        found = (p for p in self.places[name] if p.planes is not None and p.planes.stride == (1, 1))
        return next(found, None)

    def extents(self, name: str) -> tuple[int, int, int, int]:
        """(n, c, h, w) of a value of two or four dimensions."""
        shape = self.shape(name)
        n, c, h, w = shape if len(shape) == 4 else (*shape, 1, 1)
        return n, c, h, w

    def plain(self, name: str) -> Buffer:
        """The value in C order."""
        found = self.find(name, plain=True)
        if found is not None:
            return found.buffer
        place = next(p for p in self.places[name] if p.planes is not None)
        made = place.planes
        assert made is not None
        extents = self.extents(name)
        y = Buffer(4 * prod(extents))
        words = (y, place.buffer, *extents, *plain_view(extents), *made.grid.view(), *made.stride)
        self._convert(name, "unpack", words, place.buffer, Place(y))
        return y

    def planes(self, name: str, planes: Planes) -> Buffer:
        """The value on planes like these, with zeros around it."""
        for place in self.places[name]:
            if place.planes is not None and (place.planes.grid, place.planes.stride) == (
                planes.grid,
                planes.stride,
            ):
                return self._clean(name, place).buffer
        source = self.on_planes(name)
        extents = self.extents(name)
        if source is not None and source.planes is not None:
            buffer, view = source.buffer, source.planes.grid.view()
        else:
            buffer, view = self.plain(name), plain_view(extents)
        y = self.floats(planes.floats)
        words = (y, buffer, *extents, *view, *planes.grid.view(), planes.floats, *planes.stride)
        self._convert(name, "pack", words, buffer, Place(y, planes))
        return y

    def _clean(self, name: str, place: Place) -> Place:
        planes = place.planes
        assert planes is not None
        if planes.clean:
            return place
        words = (place.buffer, *planes.extents, *planes.grid.view(), planes.floats)
        self.emit("scrub", words, (place.buffer,), (place.buffer,))
        made = Place(
            place.buffer, Planes(planes.grid, planes.channels, planes.rows, planes.columns, planes.stride)
        )
        self.places[name] = [made if p is place else p for p in self.places[name]]
        return made

    def _convert(self, name: str, op: str, words: Iterable[object], source: Buffer, place: Place) -> None:
        # What does not change between steps is converted before them.
        fixed = name in self.fixed and not any(
            p.buffer.pinned and p.buffer.block == ARENA for p in self.fixed[name]
        )
        self.emit(op, words, (source,), (place.buffer,), section="once" if fixed else None)
        self.put(name, place)
        if fixed:
            self.fixed[name].append(place)

    def view(self, name: str) -> tuple[Buffer, tuple[int, int, int, int]]:
        """A value of four dimensions where it lies, by its strides."""
        place = self.on_planes(name)
        if place is not None and place.planes is not None:
            return place.buffer, place.planes.grid.view()
        return self.plain(name), plain_view(self.extents(name))

    def same_size_grid(self, samples: int, size: tuple[int, int]) -> Grid | None:
        """The grid shared by what has this size, where a convolution of the program made one."""
        if size not in self.pads:
            return None
        grid = same_grid(samples, size, self.pads[size])
        # As much more as a tap may be away from whole vectors.
        return replace(grid, guard=grid.guard + LANES) if self.style.wide else grid
