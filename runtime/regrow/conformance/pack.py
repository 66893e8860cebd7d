"""Read and write a conformance pack: an index, and per case a description and six files it vouches for.

Paths are never taken from a file: a case's folder is its name, which has no separators, and its files have
fixed names. Every file is regular, of the size and the SHA-256 that its description says, or it is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from regrow.conformance import arrays
from regrow.conformance.arrays import Array
from regrow.errors import RegrowError
from regrow.fields import Fields, Words, fail, loads
from regrow.files import atomic_write
from regrow.manifest import check_unique, check_version

FORMAT_VERSION = 1
INDEX, ABOUT = "conformance.json", "case.json"
MODEL, PREDICT, ADAPT = "model.regrow", "predict.onnx", "adapt.onnx"
SUPPORT, QUERY, EXPECTED = "support.npz", "query.npz", "expected.npz"
FILES = (MODEL, PREDICT, ADAPT, SUPPORT, QUERY, EXPECTED)
MAX_BYTES = 64 * 2**20
_MAX_JSON = 2**20
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Graph:
    """The names of an ONNX graph: inputs that must be given, inputs that have a default, outputs."""

    inputs: tuple[str, ...]
    defaults: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What a case says about itself; `tolerances` has one entry per expected output."""

    name: str
    says: str
    rule: str
    steps: int
    seed: int
    ops: tuple[str, ...]
    adapt: Graph
    predict: Graph
    tolerances: Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """A case that lies in a folder."""

    folder: Path
    facts: Facts
    files: Mapping[str, tuple[int, str]]  # file -> (bytes, SHA-256)

    @property
    def name(self) -> str:
        return self.facts.name

    def path(self, file: str) -> Path:
        """Where one of its files is."""
        return self.folder / file

    def load(self, file: str) -> bytes:
        """The bytes of one of its files, as the description vouches for them."""
        size, digest = self.files[file]
        data = _regular(self.path(file), MAX_BYTES)
        if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            found = Words(f"{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")
            raise fail(str(self.path(file)), found, f"{size} bytes, SHA-256 {digest} as {ABOUT} says")
        return data

    def arrays(self, file: str) -> dict[str, Array]:
        """The arrays in one of its .npz files."""
        return arrays.parse(self.load(file), str(self.path(file)))


@dataclass(frozen=True)
class Pack:
    """A pack whose every file was found to be what it should be."""

    folder: Path
    versions: Mapping[str, str]
    cases: tuple[Case, ...]

    def matching(self, pattern: str) -> tuple[Case, ...]:
        """The cases whose name a glob matches; at least one."""
        found = tuple(case for case in self.cases if fnmatchcase(case.name, pattern))
        if not found:
            raise RegrowError(
                f"{self.folder}: no case matches {pattern!r}, expected some of "
                f"{', '.join(case.name for case in self.cases)}; change --case"
            )
        return found


def write_case(folder: Path, facts: Facts, files: Mapping[str, bytes]) -> None:
    """Write the folder of one case, its description last."""
    own = folder / facts.name
    own.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        atomic_write(own / file, files[file])
    listed = {f: {"bytes": len(files[f]), "sha256": hashlib.sha256(files[f]).hexdigest()} for f in FILES}
    atomic_write(own / ABOUT, _json({"format_version": FORMAT_VERSION, **asdict(facts), "files": listed}))


def write_index(folder: Path, names: list[str], versions: Mapping[str, str]) -> None:
    """Write the index over cases that were written; before that the folder is no pack."""
    digests = {name: hashlib.sha256((folder / name / ABOUT).read_bytes()).hexdigest() for name in names}
    cases = [{"name": name, "sha256": digest} for name, digest in sorted(digests.items())]
    index = {"format_version": FORMAT_VERSION, "versions": dict(versions), "cases": cases}
    atomic_write(folder / INDEX, _json(index))


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def read(folder: Path) -> Pack:
    """Open a pack and verify every file in it; any doubt is a BundleError."""
    place = str(folder / INDEX)
    top = Fields(loads(_regular(folder / INDEX, _MAX_JSON), place), place)
    check_version(top, FORMAT_VERSION)
    named = [(fields.text("name"), fields) for fields in top.objects("cases")]
    check_unique([name for name, _ in named], top.at("cases"))
    cases = tuple(_case(folder, name, fields) for name, fields in named)
    if not cases:
        raise fail(top.at("cases"), Words("none"), "one case or more")
    return Pack(folder, top.text_map("versions"), cases)


def _case(folder: Path, name: str, listed: Fields) -> Case:
    if not _NAME.fullmatch(name):
        raise fail(listed.at("name"), name, "lower-case letters, digits and hyphens, at most 64")
    path = folder / name / ABOUT
    data = _regular(path, _MAX_JSON)
    digest = _digest(listed, "sha256")
    if hashlib.sha256(data).hexdigest() != digest:
        found = Words(f"SHA-256 {hashlib.sha256(data).hexdigest()}")
        raise fail(str(path), found, f"{digest} as {INDEX} says")
    top = Fields(loads(data, str(path)), str(path))
    check_version(top, FORMAT_VERSION)
    case = Case(folder / name, _facts(top, name), _files(top.object("files")))
    for file in FILES:
        case.load(file)
    return case


def _facts(top: Fields, name: str) -> Facts:
    if top.text("name") != name:
        raise fail(top.at("name"), top.text("name"), f"{name}, the name of its folder")
    listed = top.object("tolerances")
    tolerances = {key: listed.number(key) for key in listed.values}
    for key, value in tolerances.items():
        if not 0 < value < 1:
            raise fail(listed.at(key), value, "a number between 0 and 1")
    return Facts(
        name=name,
        says=top.text("says"),
        rule=top.text("rule"),
        steps=top.integer("steps", 1, 10_000),
        seed=top.integer("seed"),
        ops=top.texts("ops"),
        adapt=_graph(top.object("adapt")),
        predict=_graph(top.object("predict")),
        tolerances=tolerances,
    )


def _graph(fields: Fields) -> Graph:
    return Graph(fields.texts("inputs"), fields.texts("defaults"), fields.texts("outputs"))


def _files(fields: Fields) -> dict[str, tuple[int, str]]:
    entries = {file: fields.object(file) for file in FILES}
    return {f: (e.integer("bytes", 0, MAX_BYTES), _digest(e, "sha256")) for f, e in entries.items()}


def _digest(fields: Fields, key: str) -> str:
    text = fields.text(key)
    if not _DIGEST.fullmatch(text):
        raise fail(fields.at(key), text, "64 hexadecimal digits")
    return text


def _regular(path: Path, limit: int) -> bytes:
    """The bytes of a file that is no link, no device, and not too large."""
    remedy = "copy the pack again or export it anew"
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode):
            raise fail(str(path), Words("a link or special file"), "a regular file", remedy)
        if about.st_size > limit:
            raise fail(str(path), Words(f"{about.st_size} bytes"), f"at most {limit}", remedy)
        return path.read_bytes()
    except OSError as error:
        found = Words(f"no readable file ({error.strerror})")
        raise fail(str(path), found, "a file of the pack", remedy) from error
