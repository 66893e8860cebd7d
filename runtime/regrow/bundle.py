"""Read and write `.regrow` bundles: a container whose metadata holds the manifest.

`read` judges everything before it returns: container, manifest, and that every tensor the manifest names is
there as described. Programs and graphs are unpacked on demand, never beyond a size limit. Nothing in a
bundle is executed or unpickled. docs/bundle.md is the normative description.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regrow import container, encoding, manifest
from regrow.encoding import Encoded
from regrow.fields import Words, dumps, fail, loads, show_name
from regrow.files import StrPath
from regrow.manifest import Manifest, Parameter, TensorSpec
from regrow.moves import Adaptable, moves
from regrow.parameters import Parameters
from regrow.program import Program
from regrow.program_json import load_program
from regrow.values import VALUES, Array, Floats, Mask, Values

METADATA_KEY = "regrow"
# Graphs and programs hold no weights; without a limit a few kilobytes could unpack to gigabytes.
MAX_BLOB = 32 * 2**20
# The program and the graph whose bytes the others of their table may take as zlib dictionary.
SHARED = {"programs": "step", "graphs": "adapt"}
_DICTIONARY_BIT = 0x20
_REMEDY = "export the bundle again"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A validated bundle. Every array is read-only; dense fp32 parameters are views of the file.

    Frozen ones stored in fp16 or int8 are widened when they are asked for.
    """

    path: str
    manifest: Manifest
    digest: str
    tensors: Mapping[str, Array]
    params: Parameters
    kept: dict[str, Mask]
    meta: dict[str, Array]
    state: dict[str, Array]
    statistics: dict[str, Array]

    def parts(self, entry: Parameter) -> dict[str, Array]:
        """A parameter as it is stored: values, keyed "" or "values", scales, and what says where they are."""
        return {part: self.tensors[name] for part, name in _part_names(entry).items()}

    def moves(self, entry: Parameter) -> Mask | None:
        """The positions of a parameter that may move; None where all of them."""
        return moves(entry.adaptable, entry.shape, self.kept.get(entry.name))

    def mask(self, entry: Parameter) -> Mask:
        """The same as the programs read it: a tensor stored dense has every position kept."""
        inside = self.moves(entry)
        return np.ones(entry.shape, np.bool_) if inside is None else inside

    def movable(self, entry: Parameter) -> int:
        """How many they are."""
        inside = self.moves(entry)
        return entry.size if inside is None else int(np.count_nonzero(inside))

    def graph(self, name: str) -> bytes:
        """The unpacked ONNX graph `name` ("predict", "adapt")."""
        return self._blob("graphs", self.manifest.graphs, name)

    def program(self, name: str) -> Program:
        """The parsed program `name` ("predict", "prefix", "step", "finish")."""
        place = f"{self.path}: program {show_name(name)}"
        return load_program(self._blob("programs", self.manifest.programs, name), place)

    def _blob(self, key: str, table: Mapping[str, str], name: str) -> bytes:
        if name not in table:
            place = f"{self.path}: manifest.{key}.{show_name(name)}"
            raise fail(place, Words("nothing"), "the name of a tensor", _REMEDY)
        tensor, shared = self.tensors[table[name]], SHARED[key]
        wants = self.manifest.format_version > 1 and name != shared and bool(tensor[1:2] & _DICTIONARY_BIT)
        dictionary = self._blob(key, table, shared) if wants else b""
        return unpack_blob(tensor, f"{self.path}: {show_name(table[name])}", dictionary)


def pack_parameter(
    name: str, w: Floats, adaptable: Adaptable, kept: Mask | None = None, values: Values = "fp32"
) -> tuple[Parameter, dict[str, Array]]:
    """The manifest entry of a weight tensor and the tensors to store, in the smallest encoding."""
    encoded = encoding.encode(w, kept, values)
    count = w.size if encoded.kind == "dense" else encoded.parts["values"].size
    entry = Parameter(name, w.shape, adaptable, encoded.kind, values, count, encoded.nbytes)
    return entry, stored_parts(name, encoded)


def stored_parts(name: str, encoded: Encoded) -> dict[str, Array]:
    """Parts of an encoded tensor under the names they are stored by."""
    return {encoding.part_name(name, part): array for part, array in encoded.parts.items()}


def pack_blobs(key: str, blobs: Mapping[str, bytes]) -> dict[str, NDArray[np.uint8]]:
    """All "programs" or "graphs" as the tensors that store them."""
    dictionary = blobs.get(SHARED[key], b"")
    return {name: pack_blob(b, dictionary if name != SHARED[key] else b"") for name, b in blobs.items()}


def pack_blob(data: bytes, dictionary: bytes = b"") -> NDArray[np.uint8]:
    """A program or graph as the tensor that stores it."""
    packer = zlib.compressobj(9, zdict=dictionary) if dictionary else zlib.compressobj(9)
    return np.frombuffer(packer.compress(data) + packer.flush(), np.uint8)


def unpack_blob(tensor: Array, place: str, dictionary: bytes = b"") -> bytes:
    """The inverse of `pack_blob` for a tensor nobody vouches for."""
    unpacker = zlib.decompressobj(zdict=dictionary)
    try:
        data = unpacker.decompress(tensor.tobytes(), MAX_BLOB + 1)
    except zlib.error as error:
        raise fail(place, Words(f"no zlib data ({error})"), "a zlib stream", _REMEDY) from error
    if len(data) > MAX_BLOB:
        raise fail(place, Words(f"more than {MAX_BLOB} bytes unpacked"), f"at most {MAX_BLOB}", _REMEDY)
    if not unpacker.eof or unpacker.unused_data:
        raise fail(place, Words("a cut or padded stream"), "one whole zlib stream", _REMEDY)
    return data


def write(path: StrPath, manifest_: Manifest, tensors: Mapping[str, Array]) -> str:
    """Write a bundle and return its digest; what `read` would refuse is never written."""
    text = dumps(manifest_.to_json(), f"{path}: manifest")
    _assemble(str(path), text, dict(tensors), "")
    return container.write(path, tensors, {METADATA_KEY: text})


def unwritten(place: str, manifest_: Manifest, tensors: Mapping[str, Array]) -> Bundle:
    """What `read` would make of these once they are written; it has no digest yet."""
    return _assemble(place, dumps(manifest_.to_json(), f"{place}: manifest"), dict(tensors), "")


def read(path: StrPath) -> Bundle:
    """Open a bundle; any doubt about it is a BundleError."""
    file = container.read(path)
    return _assemble(file.path, own_metadata(file, METADATA_KEY, "bundle"), file.tensors, file.digest)


def own_metadata(file: container.Container, key: str, kind: str) -> str:
    """The JSON that makes a container a bundle, a delta or a checkpoint."""
    if key not in file.metadata:
        found = Words(f"the keys {sorted(show_name(k) for k in file.metadata)[:8]}")
        raise fail(f"{file.path}: metadata", found, f"the key {key}: this is no {kind}", f"give a {kind}")
    return file.metadata[key]


def _assemble(path: str, text: str, tensors: dict[str, Array], digest: str) -> Bundle:
    place = f"{path}: manifest"
    made = manifest.parse(loads(text.encode(errors="surrogatepass"), place), place)
    manifest.check_unique(_stored_names(made), f"{place}: stored tensors")
    params: dict[str, Floats | Callable[[], Floats]] = {}
    kept = {}
    budget = encoding.MAX_SPARSE
    for i, entry in enumerate(made.parameters):
        if entry.encoding != "dense":
            budget -= entry.size
        at = f"{place}.parameters[{i}]"
        if budget < 0:
            limit = f"at most {encoding.MAX_SPARSE} elements in all sparse tensors"
            raise fail(f"{at}.shape", list(entry.shape), limit)
        found, mask = _parameter(path, at, entry, tensors)
        later = entry.adaptable == "none" and entry.values != "fp32"
        params[entry.name] = _later(path, at, entry, tensors) if later else found
        if mask is not None:
            kept[entry.name] = mask
    for name in (*made.programs.values(), *made.graphs.values()):
        _check_blob(path, name, tensors)
    return Bundle(
        *(path, made, digest, tensors, Parameters(params), kept),
        meta=named(path, tensors, "meta", made.rule.meta),
        state=named(path, tensors, "state", made.state),
        statistics=named(path, tensors, "stat", made.statistics),
    )


def _stored_names(made: Manifest) -> Iterator[str]:
    """Every tensor that the manifest lays claim to; none may be claimed twice."""
    for entry in made.parameters:
        yield from _part_names(entry).values()
    for prefix, specs in (("meta", made.rule.meta), ("state", made.state), ("stat", made.statistics)):
        yield from (f"{prefix}.{spec.name}" for spec in specs)
    yield from made.programs.values()
    yield from made.graphs.values()


def _parameter(
    path: str, at: str, entry: Parameter, tensors: Mapping[str, Array]
) -> tuple[Floats, Mask | None]:
    parts = {part: find(tensors, name, path) for part, name in _part_names(entry).items()}
    place = f"{path}: {show_name(entry.name)}"
    main = parts[encoding.PARTS[entry.encoding][0]]
    if main.dtype != VALUES[entry.values]:
        raise fail(place, Words(str(main.dtype)), f"{entry.values} as {at}.values says", _REMEDY)
    if main.size != entry.kept:
        raise fail(f"{at}.kept", entry.kept, f"{main.size}, the stored values", _REMEDY)
    stored = sum(part.nbytes for part in parts.values())
    if stored != entry.bytes:
        raise fail(f"{at}.bytes", entry.bytes, f"{stored}, the stored bytes", _REMEDY)
    return encoding.decode(entry.encoding, parts, entry.shape, place)


def _later(path: str, at: str, entry: Parameter, tensors: Mapping[str, Array]) -> Callable[[], Floats]:
    return lambda: _parameter(path, at, entry, tensors)[0]


def _part_names(entry: Parameter) -> dict[str, str]:
    parts = encoding.parts_of(entry.encoding, entry.values)
    return {part: encoding.part_name(entry.name, part) for part in parts}


def find(tensors: Mapping[str, Array], name: str, path: str) -> Array:
    """A stored tensor that must be there."""
    if name not in tensors:
        raise fail(f"{path}: {show_name(name)}", Words("no such tensor"), "one, as the metadata says")
    return tensors[name]


def named(
    path: str, tensors: Mapping[str, Array], prefix: str, specs: tuple[TensorSpec, ...]
) -> dict[str, Array]:
    """The stored tensors `<prefix>.<name>`, each of the shape and dtype its spec says."""
    made = {}
    for spec in specs:
        tensor = find(tensors, f"{prefix}.{spec.name}", path)
        if tensor.shape != spec.shape or tensor.dtype.name != spec.dtype:
            found = Words(f"{tensor.dtype}{list(tensor.shape)}")
            want = f"{spec.dtype}{list(spec.shape)} as the metadata says"
            raise fail(f"{path}: {prefix}.{show_name(spec.name)}", found, want)
        made[spec.name] = tensor
    return made


def _check_blob(path: str, name: str, tensors: Mapping[str, Array]) -> None:
    tensor = find(tensors, name, path)
    if tensor.dtype != np.uint8 or tensor.ndim != 1:
        found = Words(f"{tensor.dtype}{list(tensor.shape)}")
        raise fail(f"{path}: {show_name(name)}", found, "one dimension of bytes", _REMEDY)
