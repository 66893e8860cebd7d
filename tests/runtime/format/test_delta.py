"""Deltas: bit-exact, small, and of exactly one bundle."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from regrow import bundle, container, delta
from regrow.bundle import Bundle
from regrow.delta import Delta
from regrow.errors import BundleError, RegrowError
from regrow.manifest import Manifest


@pytest.fixture(scope="module")
def base(tiny_file: Path) -> Bundle:
    return bundle.read(tiny_file)


def make(base: Bundle, **changes: Any) -> Delta:
    """A delta in which every kept value of both adaptable parameters moved."""
    dense = base.params["dense.weight"] + np.float32(1)
    gaps = np.where(base.kept["gaps.weight"], np.float32(-0.0), base.params["gaps.weight"])
    good = Delta(
        bundle=base.digest,
        rule="sgd",
        params={"dense.weight": dense, "gaps.weight": gaps.astype(np.float32)},
        statistics={"bn.mean": np.full(4, 0.5, np.float32)},
        state={"m": np.ones((2, 2), np.float32)},
        labels=("yes", "nö"),
        counts={"yes": 3, "nö": 5},
        adaptations=2,
        samples=8,
    )
    return replace(good, **changes)


def same(a: Delta, b: Delta) -> None:
    """Equality down to the bits of every array."""
    for key in ("params", "statistics", "state"):
        left, right = getattr(a, key), getattr(b, key)
        assert left.keys() == right.keys()
        for name in left:
            assert (left[name].shape, left[name].dtype) == (right[name].shape, right[name].dtype)
            assert left[name].tobytes() == right[name].tobytes()
    for key in ("bundle", "rule", "labels", "counts", "adaptations", "samples"):
        assert getattr(a, key) == getattr(b, key)


def test_round_trip(base: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "ana.delta"
    digest = delta.write(path, make(base), base.params)
    assert container.read(path).digest == digest
    same(delta.read(path, base), make(base))


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**32 - 1), st.booleans())
def test_any_change_comes_back_bit_for_bit(
    base: Bundle, tmp_path_factory: pytest.TempPathFactory, share: float, seed: int, labelled: bool
) -> None:
    rng = np.random.default_rng(seed)
    w = base.params["dense.weight"].copy()
    moved = rng.random(w.shape) < share
    w.view(np.uint32)[moved] = rng.integers(0, 2**32, int(moved.sum()), np.uint32)
    made = make(base, params={"dense.weight": w}, labels=("a", "b") if labelled else None)
    path = tmp_path_factory.getbasetemp() / "any.delta"
    delta.write(path, made, base.params)
    found = delta.read(path, base)
    same(found, made)
    assert not found.params["dense.weight"].flags.writeable


def test_few_changes_take_few_bytes(base: Bundle, tmp_path: Path) -> None:
    w = base.params["dense.weight"].copy()
    sizes = []
    for changes in (0, 3, w.size):
        w.reshape(-1)[:changes] += 1
        digest = delta.write(tmp_path / "a", make(base, params={"dense.weight": w}), base.params)
        tensors = container.read(tmp_path / "a").tensors
        sizes.append(sum(t.nbytes for name, t in tensors.items() if name.startswith("param.")))
        assert len(digest) == 64
    assert sizes == [1, 4 * 3 + 1 + 1, 4 * w.size]


def test_of_another_bundle_names_both(base: Bundle, tiny: Callable[[], Any], tmp_path: Path) -> None:
    manifest, tensors = tiny()
    bundle.write(tmp_path / "b.regrow", replace(manifest, name="other"), tensors)
    other = bundle.read(tmp_path / "b.regrow")
    delta.write(tmp_path / "ana.delta", make(base), base.params)
    with pytest.raises(BundleError) as caught:
        delta.read(tmp_path / "ana.delta", other)
    for word in (base.digest, other.digest, other.path, "ana.delta", "open the bundle that"):
        assert word in str(caught.value)


def test_any_flipped_byte_is_refused(base: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "ana.delta"
    delta.write(path, make(base), base.params)
    data = path.read_bytes()
    for i in [*range(0, len(data), 17), len(data) - 1]:
        path.write_bytes(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        with pytest.raises(BundleError, match=r"ana\.delta"):
            delta.read(path, base)


def test_its_own_digest_must_be_right(base: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "ana.delta"
    delta.write(path, make(base), base.params)
    data = path.read_bytes()
    path.write_bytes(data[:-32] + bytes(32))
    with pytest.raises(BundleError, match=f"sha256: found [0-9a-f]{{64}}, expected {'00' * 32}"):
        delta.read(path, base)


def test_a_bundle_is_no_delta(base: Bundle) -> None:
    with pytest.raises(BundleError, match="this is no delta"):
        delta.read(base.path, base)


Change = Callable[[dict[str, Any], dict[str, NDArray[Any]]], object]
BAD: list[tuple[Change, str, str]] = [
    (lambda m, t: m.update(format_version=9), "delta.format_version", "found 9, expected at most 1"),
    (lambda m, t: m.pop("rule"), "delta.rule", "found nothing"),
    (lambda m, t: m.update(rule="adam"), "delta.rule", "'sgd' as in the bundle"),
    (lambda m, t: m.update(labels=["a", "a"]), "delta.labels", "each name once"),
    (lambda m, t: m.update(labels=list("abcdef")), "delta.labels", "at most 5"),
    (lambda m, t: m.update(counts={"a": -1}), "delta.counts.a", "an integer >= 0"),
    (lambda m, t: m.update(samples=None), "delta.samples", "an integer"),
    (lambda m, t: m["parameters"][0].update(name="ghost"), "delta.parameters[0].name", "adaptable parameter"),
    (lambda m, t: m["parameters"][0].update(name="bits.weight"), "delta.parameters[0].name", "adaptable"),
    (lambda m, t: m["parameters"].append(m["parameters"][0]), "delta.parameters[2].name", "once"),
    (lambda m, t: m["parameters"][0].update(shape=[400]), "delta.parameters[0].shape", "[16, 25]"),
    (lambda m, t: m["parameters"][0].update(encoding="zip"), "delta.parameters[0].encoding", "one of dense"),
    (lambda m, t: m["statistics"].clear(), "delta.statistics", "bn.mean float32[4]"),
    (lambda m, t: m["state"][0].update(shape=[4]), "delta.state", "m float32[2, 2]"),
    (lambda m, t: t.pop("state.m"), "state.m", "no such tensor"),
    (lambda m, t: t.update({"stat.bn.mean": np.zeros(3, np.float32)}), "stat.bn.mean", "float32[4]"),
    (
        lambda m, t: t.update({"param.dense.weight": np.zeros((16, 25), np.float16)}),
        "param.dense",
        "found float16",
    ),
    (lambda m, t: t.update({"param.dense.weight": np.zeros(400, np.float32)}), "param.dense", "[16, 25]"),
    (lambda m, t: t["param.gaps.weight.gaps"].__setitem__(-1, 255), "param.gaps.weight.gaps", "expected"),
]


@pytest.mark.parametrize(("change", "place", "word"), BAD)
def test_wrong_content_is_refused(
    base: Bundle, tmp_path: Path, change: Change, place: str, word: str
) -> None:
    path = tmp_path / "ana.delta"
    delta.write(path, make(base), base.params)
    file = container.read(path)
    data = json.loads(file.metadata[delta.METADATA_KEY])
    tensors = {name: array.copy() for name, array in file.tensors.items()}
    change(data, tensors)
    container.write(path, tensors, {delta.METADATA_KEY: json.dumps(data)})
    with pytest.raises(BundleError) as caught:
        delta.read(path, base)
    assert str(caught.value).startswith(f"{path}: {place}")
    assert word in str(caught.value)


def test_moving_a_pruned_weight_is_refused(base: Bundle, tmp_path: Path) -> None:
    w = base.params["gaps.weight"].copy()
    w[~base.kept["gaps.weight"]] = 1
    delta.write(tmp_path / "a", make(base, params={"gaps.weight": w}), base.params)
    with pytest.raises(BundleError, match="changed values outside the kept positions"):
        delta.read(tmp_path / "a", base)


@pytest.mark.parametrize(("moved", "allowed"), [("kept", False), ("pruned", True)])
def test_the_complement_may_move_where_the_manifest_says_pruned(
    tiny: Callable[[], tuple[Manifest, dict[str, Any]]], tmp_path: Path, moved: str, allowed: bool
) -> None:
    manifest, tensors = tiny()
    entries = [replace(p, adaptable="pruned") for p in manifest.parameters]
    bundle.write(tmp_path / "b", replace(manifest, parameters=tuple(entries)), tensors)
    base = bundle.read(tmp_path / "b")
    kept = base.kept["gaps.weight"]
    w = base.params["gaps.weight"].copy()
    w[kept if moved == "kept" else ~kept] += 1
    delta.write(tmp_path / "a", make(base, params={"gaps.weight": w}), base.params)
    if allowed:
        same(delta.read(tmp_path / "a", base), make(base, params={"gaps.weight": w}))
        return
    with pytest.raises(BundleError, match="outside the pruned positions"):
        delta.read(tmp_path / "a", base)


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"ghost": np.zeros(1, np.float32)}, "no such parameter"),
        ({"dense.weight": np.zeros(1, np.float32)}, r"expected float32\[16, 25\]"),
        ({"dense.weight": np.zeros((16, 25))}, r"found float64\[16, 25\]"),
    ],
)
def test_writer_refuses_foreign_tensors(base: Bundle, tmp_path: Path, params: Any, word: str) -> None:
    with pytest.raises(BundleError, match=word):
        delta.write(tmp_path / "a", make(base, params=params), base.params)
    assert os.listdir(tmp_path) == []


def test_writer_refuses_a_name_that_a_part_of_another_has(base: Bundle, tmp_path: Path) -> None:
    params = {"a": np.zeros(99, np.float32), "a.values": np.zeros(1, np.float32)}
    moved = {"a": params["a"], "a.values": np.ones(1, np.float32)}
    with pytest.raises(BundleError, match=r"a\.values: found a name taken by a part of another"):
        delta.write(tmp_path / "d", make(base, params=moved), params)


def test_a_full_disk_leaves_the_old_delta(
    base: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ana.delta"
    delta.write(path, make(base), base.params)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RegrowError, match=r"ana\.delta: could not be written: No space left"):
        delta.write(path, make(base, samples=9), base.params)
    monkeypatch.undo()
    same(delta.read(path, base), make(base))
    assert os.listdir(tmp_path) == ["ana.delta"]
