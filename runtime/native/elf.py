"""What a shared library for Linux asks of the machine it is loaded on. Reads bytes; runs nothing.

64 bits, little-endian, with section headers: what the linkers of `build.py` write.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

PROCESSORS = {62: "x86_64", 183: "aarch64"}
DYNSYM, DYNAMIC, VERNEED = 11, 6, 0x6FFFFFFE
DT_NEEDED, DT_RPATH, DT_TEXTREL, DT_RUNPATH = 1, 15, 22, 29
PT_GNU_STACK, EXECUTABLE = 0x6474E551, 1


@dataclass(frozen=True)
class Library:
    """One file, as its headers describe it."""

    processor: str
    needs: tuple[str, ...]
    versions: tuple[str, ...]
    """Versions of foreign symbols, such as GLIBC_2.17."""
    exports: tuple[str, ...]
    wants: tuple[str, ...]
    """Symbols that the needed libraries have to bring."""
    sections: dict[str, int]
    """Bytes of each."""
    faults: tuple[str, ...]
    """What no library should have: search paths, text that is rewritten, a stack that can be executed."""


def read(data: bytes) -> Library:
    """The headers of a library; ValueError where these are not those of one."""
    try:
        return _read(data)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"ELF: found headers that point outside the file ({error})") from error


def _read(data: bytes) -> Library:
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"ELF: found {data[:6]!r}, expected a little-endian file of 64 bits")
    kind, machine = struct.unpack_from("<HH", data, 16)
    if kind != 3 or machine not in PROCESSORS:
        raise ValueError(f"ELF: found type {kind} for machine {machine}, expected 3 for {PROCESSORS}")
    sections = _sections(data)
    needs, faults = [], []
    for header in (s for s in sections if s.kind == DYNAMIC):
        text = sections[header.link].offset
        for tag, value in struct.iter_unpack("<qQ", header.bytes(data)):
            if tag == DT_NEEDED:
                needs.append(_text(data, text + value))
            faults += [what for number, what in _UNWANTED.items() if tag == number]
    symbols = [pair for s in sections if s.kind == DYNSYM for pair in _symbols(data, s, sections)]
    return Library(
        PROCESSORS[machine],
        tuple(needs),
        tuple(sorted({v for s in sections if s.kind == VERNEED for v in _versions(data, s, sections)})),
        tuple(sorted(name for name, defined in symbols if defined)),
        tuple(sorted(name for name, defined in symbols if not defined)),
        {s.name: s.size for s in sections if s.name},
        (*faults, *_stack(data)),
    )


_UNWANTED = {DT_RPATH: "a search path (RPATH)", DT_RUNPATH: "a search path (RUNPATH)", DT_TEXTREL: "TEXTREL"}


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    offset: int
    size: int
    link: int
    count: int

    def bytes(self, data: bytes) -> bytes:
        if self.offset + self.size > len(data):
            raise IndexError(f"section {self.name or self.kind}")
        return data[self.offset : self.offset + self.size]


def _sections(data: bytes) -> list[_Section]:
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<3H", data, 58)
    rows = [struct.unpack_from("<IIQQQQII", data, start + size * i) for i in range(count)]
    if not rows:
        raise IndexError("no sections")
    text = rows[names][4]
    return [_Section(_text(data, text + r[0]), r[1], r[4], r[5], r[6], r[7]) for r in rows]


def _symbols(data: bytes, header: _Section, sections: list[_Section]) -> list[tuple[str, bool]]:
    """Names and whether they are defined here; the first is nobody's."""
    rows = list(struct.iter_unpack("<IBBHQQ", header.bytes(data)))[1:]
    text = sections[header.link].offset
    return [(_text(data, text + row[0]), row[3] != 0) for row in rows]


def _versions(data: bytes, header: _Section, sections: list[_Section]) -> list[str]:
    found, text, at = [], sections[header.link].offset, header.offset
    for _ in range(header.count):
        _, count, _, first, following = struct.unpack_from("<HHIII", data, at)
        entry = at + first
        for _ in range(count):
            _, _, _, name, step = struct.unpack_from("<IHHII", data, entry)
            found.append(_text(data, text + name))
            entry += step
        at += following
    return found


def _stack(data: bytes) -> list[str]:
    (start,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<2H", data, 54)
    rows = [struct.unpack_from("<II", data, start + size * i) for i in range(count)]
    flags = [flag for kind, flag in rows if kind == PT_GNU_STACK]
    if not flags:
        return ["no word on its stack (GNU_STACK)"]
    return ["a stack that can be executed"] if any(flag & EXECUTABLE for flag in flags) else []


def _text(data: bytes, at: int) -> str:
    end = data.index(b"\0", at) if at < len(data) else -1
    if end < 0:
        raise IndexError(f"no text at {at}")
    return data[at:end].decode()
