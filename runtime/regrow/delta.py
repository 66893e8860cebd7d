"""Save and load what one session learned: a small container that belongs to exactly one bundle.

Adapted tensors are stored as the positions that changed, where that is smaller, and come back bit for bit. A
delta of another bundle, or one that moves what its bundle says may not move, is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow import bundle, container, encoding, manifest
from regrow.bundle import Bundle
from regrow.encoding import KINDS, Encoded, Kind
from regrow.fields import Fields, Words, dumps, fail, loads, show_name
from regrow.files import StrPath
from regrow.manifest import Parameter, TensorSpec
from regrow.moves import shown
from regrow.values import Array, Floats, Mask

METADATA_KEY = "regrow_delta"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Delta:
    """One session's state. Adaptable parameters that are absent are those of the bundle."""

    bundle: str
    rule: str
    params: dict[str, Floats]
    statistics: dict[str, Array]
    state: dict[str, Array]
    labels: tuple[str, ...] | None
    counts: dict[str, int]
    adaptations: int
    samples: int


def write(path: StrPath, delta: Delta, base: Mapping[str, Floats]) -> str:
    """Write a delta against the bundle's parameters `base`; returns its own digest."""
    return container.write(path, *_contents(path, delta, base))


def pack(delta: Delta, base: Mapping[str, Floats], place: str = "delta") -> bytes:
    """The bytes that `write` would put into a file."""
    return b"".join(container.pack(place, *_contents(place, delta, base))[0])


def _contents(
    path: StrPath, delta: Delta, base: Mapping[str, Floats]
) -> tuple[dict[str, Array], dict[str, str]]:
    """Tensors and metadata of the container."""
    tensors, entries = _pack(path, delta.params, base)
    tensors |= {f"stat.{name}": array for name, array in delta.statistics.items()}
    tensors |= {f"state.{name}": array for name, array in delta.state.items()}
    data = {
        "format_version": FORMAT_VERSION,
        "bundle": delta.bundle,
        "rule": delta.rule,
        "parameters": entries,
        "statistics": manifest.plain(_specs(delta.statistics)),
        "state": manifest.plain(_specs(delta.state)),
        "labels": delta.labels,
        "counts": delta.counts,
        "adaptations": delta.adaptations,
        "samples": delta.samples,
    }
    return tensors, {METADATA_KEY: dumps(data, str(path))}


def _pack(
    path: StrPath, params: Mapping[str, Floats], base: Mapping[str, Floats]
) -> tuple[dict[str, Array], list[dict[str, Any]]]:
    """The tensors to store and their entries in the metadata."""
    tensors: dict[str, Array] = {}
    entries: list[dict[str, Any]] = []
    for name, w in params.items():
        if name not in base:
            raise fail(
                f"{path}: {name}", Words("no such parameter"), "one of the bundle", "save its own session"
            )
        encoded = _encode(w, base[name], f"{path}: {name}")
        parts = bundle.stored_parts(f"param.{name}", encoded)
        if not tensors.keys().isdisjoint(parts):
            raise fail(
                f"{path}: {name}", Words("a name taken by a part of another"), "another name", "rename it"
            )
        tensors |= parts
        entries.append({"name": name, "shape": list(w.shape), "encoding": encoded.kind})
    return tensors, entries


def _encode(w: Floats, base: Floats, place: str) -> Encoded:
    """The changed positions or the whole tensor, whichever is smaller."""
    if w.dtype != np.float32 or w.shape != base.shape:
        found = Words(f"{w.dtype}{list(w.shape)}")
        raise fail(
            place, found, f"float32{list(base.shape)} as in the bundle", "save the session's own tensors"
        )
    # Bits, not values: -0.0 differs from 0.0, and a NaN equals itself.
    changed = np.asarray(_bits(w) != _bits(base))
    dense = Encoded("dense", {"": w})
    if w.size > encoding.MAX_SPARSE:
        return dense
    sparse = encoding.encode_sparse(w[changed], changed)
    return sparse if sparse.nbytes < dense.nbytes else dense


def _bits(w: Floats) -> NDArray[np.uint32]:
    return np.asarray(w, order="C").view(np.uint32)


def _specs(arrays: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, array.shape, array.dtype.name) for name, array in arrays.items())


def read(path: StrPath, expect_bundle: Bundle) -> Delta:
    """Load a delta of `expect_bundle`; anything else is a BundleError."""
    return _judged(container.read(path), expect_bundle)


def parse(data: bytes, expect_bundle: Bundle, place: str = "delta") -> Delta:
    """The same for bytes at hand."""
    return _judged(container.parse(data, place), expect_bundle)


def _judged(file: container.Container, expect_bundle: Bundle) -> Delta:
    place = f"{file.path}: delta"
    text = bundle.own_metadata(file, METADATA_KEY, "delta")
    top = Fields(loads(text.encode(errors="surrogatepass"), place), place)
    manifest.check_version(top, FORMAT_VERSION)
    _check_origin(top, expect_bundle)
    return Delta(
        bundle=expect_bundle.digest,
        rule=top.text("rule"),
        params=_params(file, top, expect_bundle),
        statistics=_same(file, top, "statistics", "stat", expect_bundle.manifest.statistics),
        state=_same(file, top, "state", "state", expect_bundle.manifest.state),
        labels=_labels(top, expect_bundle),
        counts=top.count_map("counts"),
        adaptations=top.integer("adaptations"),
        samples=top.integer("samples"),
    )


def _check_origin(top: Fields, expected: Bundle) -> None:
    digest = top.text("bundle")
    if digest != expected.digest:
        want = f"{expected.digest}, the digest of {expected.path}"
        raise fail(top.at("bundle"), digest, want, "open the bundle that this delta was saved from")
    if top.text("rule") != expected.manifest.rule.name:
        raise fail(top.at("rule"), top.text("rule"), f"{expected.manifest.rule.name!r} as in the bundle")


def _labels(top: Fields, expected: Bundle) -> tuple[str, ...] | None:
    if top.get("labels") is None:
        return None
    labels = top.texts("labels")
    manifest.check_unique(labels, top.at("labels"))
    width = expected.manifest.output.shape[0] if expected.manifest.output.shape else 0
    if len(labels) > width:
        raise fail(top.at("labels"), Words(f"{len(labels)} labels"), f"at most {width}, the outputs")
    return labels


def _params(file: container.Container, top: Fields, expected: Bundle) -> dict[str, Floats]:
    adaptable = {p.name: p for p in expected.manifest.parameters if p.adaptable != "none"}
    made: dict[str, Floats] = {}
    for entry in top.objects("parameters"):
        name = entry.text("name")
        if name not in adaptable or name in made:
            raise fail(entry.at("name"), name, "an adaptable parameter of the bundle, once")
        base = expected.params[name]
        if entry.shape("shape") != base.shape:
            raise fail(entry.at("shape"), entry.get("shape"), f"{list(base.shape)} as in the bundle")
        made[name] = _param(file, entry, base, expected, adaptable[name])
    return made


def _param(
    file: container.Container, entry: Fields, base: Floats, expected: Bundle, moving: Parameter
) -> Floats:
    kind: Kind = next(k for k in KINDS if k == entry.choice("encoding", KINDS))
    stored = f"param.{entry.text('name')}"
    parts = {
        part: bundle.find(file.tensors, encoding.part_name(stored, part), file.path)
        for part in encoding.PARTS[kind]
    }
    place = f"{file.path}: {show_name(stored)}"
    if parts[encoding.PARTS[kind][0]].dtype != np.float32:
        raise fail(place, Words(str(parts[encoding.PARTS[kind][0]].dtype)), "float32")
    if kind == "dense":
        w, _ = encoding.decode(kind, parts, base.shape, place)
    else:
        changed = encoding.decode_mask(kind, parts, base.shape, place)
        w = base.copy()
        w[changed] = parts["values"]
        w.flags.writeable = False
    _check_moved(w, base, expected.moves(moving), shown(moving.adaptable), place)
    return w


def _check_moved(w: Floats, base: Floats, moves: Mask | None, adaptable: str, place: str) -> None:
    """Positions outside the adaptable set must still be the bundle's."""
    if moves is None:
        return
    moved = int(np.count_nonzero((_bits(w) != _bits(base)) & ~moves))
    if moved:
        raise fail(place, Words(f"{moved} changed values outside the {adaptable} positions"), "none")


def _same(
    file: container.Container, top: Fields, key: str, prefix: str, expected: tuple[TensorSpec, ...]
) -> dict[str, Array]:
    """Tensors of the delta; they must be exactly those that the bundle declares."""
    found = manifest.parse_tensors(top, key)
    if sorted(found, key=lambda s: s.name) != sorted(expected, key=lambda s: s.name):
        names = [f"{show_name(s.name)} {s.dtype}{list(s.shape)}" for s in expected]
        got = Words(str([f"{show_name(s.name)} {s.dtype}{list(s.shape)}" for s in found[:8]]))
        raise fail(top.at(key), got, f"{names[:8]} as in the bundle")
    return bundle.named(file.path, file.tensors, prefix, found)
