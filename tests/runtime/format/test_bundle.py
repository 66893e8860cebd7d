"""Bundles: what was written is what is read; the manifest and the tensors must agree in everything."""

import json
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from regrow import bundle, container, encoding
from regrow.errors import BundleError, RegrowError
from regrow.manifest import Manifest, TensorSpec

Tiny = Callable[[], tuple[Manifest, dict[str, Any]]]


def test_round_trip(tiny: Tiny, tiny_file: Path) -> None:
    manifest, tensors = tiny()
    made = bundle.read(tiny_file)
    assert made.manifest == manifest
    assert made.path == str(tiny_file)
    assert made.digest == container.read(tiny_file).digest
    assert [p.encoding for p in made.manifest.parameters] == ["dense", "bitmask", "rice", "dense", "rice"]
    np.testing.assert_array_equal(made.params["dense.weight"], tensors["dense.weight"])
    assert set(made.kept) == {"bits.weight", "gaps.weight", "rows.weight"}
    for name, mask in made.kept.items():
        values = tensors[f"{name}.values"].astype(np.float32)
        values *= tensors["rows.weight.scales"][np.nonzero(mask)[0]] if name == "rows.weight" else 1
        np.testing.assert_array_equal(made.params[name][mask], values)
        assert not made.params[name][~mask].any()
    assert made.meta["lr"].shape == (3,)
    assert made.state["m"].shape == (2, 2)
    np.testing.assert_array_equal(made.statistics["bn.mean"], np.arange(4))


def test_every_array_is_read_only_and_dense_ones_are_views(tiny_file: Path) -> None:
    made = bundle.read(tiny_file)
    assert np.shares_memory(made.params["dense.weight"], made.tensors["dense.weight"])
    groups = (made.tensors, made.params, made.kept, made.meta, made.state, made.statistics)
    assert not any(array.flags.writeable for group in groups for array in group.values())


def test_programs_and_graphs(tiny_file: Path) -> None:
    made = bundle.read(tiny_file)
    assert made.graph("predict") == b"an onnx graph"
    assert made.program("predict").ops[0].kind == "linear"
    with pytest.raises(BundleError, match=r"manifest\.graphs\.adapt: found nothing"):
        made.graph("adapt")
    with pytest.raises(BundleError, match=r"manifest\.programs\.finish: found nothing"):
        made.program("finish")


def test_writing_leaves_the_caller_s_arrays_writable(tiny: Tiny, tmp_path: Path) -> None:
    manifest, tensors = tiny()
    tensors["dense.weight"] = tensors["dense.weight"].copy()
    bundle.write(tmp_path / "a.regrow", manifest, tensors)
    tensors["dense.weight"][0] = 1


def test_pack_parameter_counts(tiny: Tiny) -> None:
    w = np.eye(40, dtype=np.float32)
    entry, parts = bundle.pack_parameter("w", w, "kept", w != 0, "fp16")
    assert (entry.kept, entry.values, entry.encoding) == (40, "fp16", "rice")
    assert entry.bytes == sum(a.nbytes for a in parts.values())
    assert set(parts) == {"w.values", "w.gaps"}
    entry, parts = bundle.pack_parameter("w", w, "all")
    assert (entry.kept, entry.bytes, set(parts)) == (1600, 6400, {"w"})


def test_unpacking_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_BLOB", 1000)
    assert bundle.unpack_blob(bundle.pack_blob(bytes(1000)), "g") == bytes(1000)
    with pytest.raises(BundleError, match="g: found more than 1000 bytes unpacked"):
        bundle.unpack_blob(bundle.pack_blob(bytes(1001)), "g")


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    layer = zlib.compress(bytes(2**26), 9)
    start = time.perf_counter()
    with pytest.raises(BundleError, match="at most 33554432"):
        bundle.unpack_blob(np.frombuffer(layer, np.uint8), "g")
    assert time.perf_counter() - start < 5


def test_programs_share_the_words_of_step_and_graphs_those_of_adapt(tiny_file: Path) -> None:
    tensors = bundle.read(tiny_file).tensors
    assert tensors["program.predict"].nbytes < tensors["program.step"].nbytes / 4
    blobs = {"adapt": bytes(range(200)), "predict": bytes(range(50, 200)), "other": bytes(range(150))}
    packed = bundle.pack_blobs("graphs", blobs)
    for name, data in blobs.items():
        dictionary = b"" if name == "adapt" else blobs["adapt"]
        assert bundle.unpack_blob(packed[name], "g", dictionary) == data
    assert packed["predict"].nbytes < 30 < packed["adapt"].nbytes


def test_a_stream_whose_dictionary_is_not_there_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    manifest, tensors = tiny()
    lone = replace(manifest, programs={"predict": "program.predict"})
    wrong = tensors | {"program.step": bundle.pack_blob(b"{}")}
    cases = (
        (lone, tensors, r"manifest\.programs\.step: found nothing, expected the name of a tensor"),
        (manifest, wrong, r"program\.predict: found no zlib data"),
        (manifest, tensors | {"program.step": tensors["program.predict"]}, r"program\.step: found no zlib"),
    )
    for made, stored, message in cases:
        bundle.write(tmp_path / "a.regrow", made, stored)
        with pytest.raises(BundleError, match=message):
            bundle.read(tmp_path / "a.regrow").program("predict")


def test_a_file_of_version_1_is_read_and_has_no_dictionary(tiny: Tiny, tmp_path: Path) -> None:
    manifest, tensors = tiny()
    old = replace(manifest, format_version=1, parameters=manifest.parameters[:3])
    bundle.write(tmp_path / "a.regrow", old, tensors)
    made = bundle.read(tmp_path / "a.regrow")
    assert made.manifest == old
    assert made.program("step").ops[0].kind == "linear"
    with pytest.raises(BundleError, match=r"program\.predict: found no zlib data"):
        made.program("predict")


def test_a_reader_of_version_1_refuses_int8_by_the_version(
    tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regrow.manifest.FORMAT_VERSION", 1)
    with pytest.raises(BundleError, match=r"format_version: found 2, expected at most 1; a newer regrow"):
        bundle.read(tiny_file)


@pytest.mark.parametrize("cut", [0, 1, 2, 10, -1])
def test_a_cut_or_padded_stream_is_refused(cut: int) -> None:
    good = bundle.pack_blob(b"an onnx graph")
    for bad in (good[:cut], np.concatenate([good, good[: abs(cut) + 1]])):
        with pytest.raises(BundleError, match="expected one whole zlib stream"):
            bundle.unpack_blob(bad, "g")


def test_a_flipped_stream_is_refused() -> None:
    good = bundle.pack_blob(b"an onnx graph")
    for i in range(good.size):
        bad = good.copy()
        bad[i] ^= 1
        with pytest.raises(BundleError, match="zlib"):
            bundle.unpack_blob(bad, "g")


Change = Callable[[dict[str, Any]], object]


def _scales(name: str, scales: NDArray[Any]) -> Change:
    return lambda t: t.update({f"{name}.weight.scales": scales})


BAD: list[tuple[Change, str, str]] = [
    (lambda t: t.pop("dense.weight"), "dense.weight", "no such tensor"),
    (lambda t: t.pop("gaps.weight.gaps"), "gaps.weight.gaps", "no such tensor"),
    (lambda t: t.pop("meta.lr"), "meta.lr", "no such tensor"),
    (lambda t: t.pop("stat.bn.mean"), "stat.bn.mean", "no such tensor"),
    (lambda t: t.pop("onnx.predict"), "onnx.predict", "no such tensor"),
    (lambda t: t.update({"meta.lr": np.zeros(4, np.float32)}), "meta.lr", "float32[3] as the metadata"),
    (lambda t: t.update({"meta.lr": np.zeros(3, np.float16)}), "meta.lr", "found float16[3]"),
    (lambda t: t.update({"program.predict": np.zeros(3, np.int8)}), "program.predict", "bytes"),
    (lambda t: t.update({"onnx.predict": np.zeros((1, 1), np.uint8)}), "onnx.predict", "bytes"),
    (lambda t: t.update({"dense.weight": np.zeros((25, 16), np.float32)}), "dense.weight", "[16, 25]"),
    (lambda t: t.update({"dense.weight": np.zeros((16, 25), np.float16)}), "dense.weight", "found float16"),
    (
        lambda t: t.update({"bits.weight.values": np.zeros(3, np.float16)}),
        "parameters[1].kept",
        "3, the stored",
    ),
    (
        lambda t: t.update({"bits.weight.bits": np.zeros(9, np.uint8)}),
        "parameters[1].bytes",
        "the stored bytes",
    ),
    (
        lambda t: t.update({"bits.weight.bits": np.zeros(50, np.uint8)}),
        "bits.weight.bits",
        "found 0 set bits",
    ),
    (lambda t: t["gaps.weight.gaps"].__setitem__(0, 77), "gaps.weight.gaps", "k = [77]"),
    (lambda t: t.pop("steps.weight.scales"), "steps.weight.scales", "no such tensor"),
    (lambda t: t.update({"steps.weight": np.zeros((16, 25), np.float32)}), "steps.weight", "int8 as"),
    (_scales("steps", np.ones(15, np.float32)), "parameters[3].bytes", "the stored bytes"),
    (_scales("steps", np.ones((16, 1), np.float32)), "steps.weight.scales", "found float32[16, 1]"),
    (_scales("rows", np.ones(16, np.int32)), "rows.weight.scales", "found int32[16]"),
    (_scales("rows", np.zeros(16, np.float32)), "rows.weight.scales", "found 0.0, expected scales from"),
    (_scales("rows", -np.ones(16, np.float32)), "rows.weight.scales", "found -1.0"),
    (_scales("rows", np.full(16, np.nan, np.float32)), "rows.weight.scales", "found nan"),
    (_scales("steps", np.full(16, np.inf, np.float32)), "steps.weight.scales", "found inf"),
    (_scales("steps", np.full(16, 2.0**121, np.float32)), "steps.weight.scales", "found 2.6"),
    (_scales("steps", np.full(16, 1e-40, np.float32)), "steps.weight.scales", "found 1e-40"),
    (lambda t: t["steps.weight"].__setitem__((3, 4), -128), "steps.weight", "found a value of -128"),
]


@pytest.mark.parametrize(("change", "place", "word"), BAD)
def test_tensors_that_disagree_are_refused_by_writer_and_reader(
    tiny: Tiny, tmp_path: Path, change: Change, place: str, word: str
) -> None:
    manifest, tensors = tiny()
    path = tmp_path / "a.regrow"
    change(tensors)
    with pytest.raises(BundleError, match="expected") as caught:
        bundle.write(path, manifest, tensors)
    assert not path.exists()
    text = json.dumps(manifest.to_json())
    container.write(path, tensors, {bundle.METADATA_KEY: text})
    with pytest.raises(BundleError) as again:
        bundle.read(path)
    for error in (caught, again):
        assert place in str(error.value)
        assert word in str(error.value)
        assert str(path) in str(error.value)


def test_a_name_that_two_things_claim_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    manifest, tensors = tiny()
    clash = replace(manifest, graphs={"predict": "program.predict"})
    with pytest.raises(BundleError, match=r"found 'program\.predict', expected each name once"):
        bundle.write(tmp_path / "a.regrow", clash, tensors)


def test_all_sparse_tensors_together_have_a_limit(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "MAX_SPARSE", 500)
    with pytest.raises(BundleError, match=r"parameters\[2\]\.shape: found \[16, 25\], expected at most 500"):
        bundle.write(tmp_path / "a.regrow", *tiny())


def test_what_json_cannot_hold_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    manifest, tensors = tiny()
    for value in (np.float32(1), float("nan"), {1, 2}):
        with pytest.raises(BundleError, match="manifest: found"):
            bundle.write(tmp_path / "a", replace(manifest, provenance={"x": value}), tensors)


def test_extra_tensors_are_allowed(tiny: Tiny, tmp_path: Path) -> None:
    manifest, tensors = tiny()
    tensors["later"] = np.zeros(1, np.uint8)
    bundle.write(tmp_path / "a", manifest, tensors)
    assert "later" in bundle.read(tmp_path / "a").tensors


def test_a_spec_of_no_tensor_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    manifest, tensors = tiny()
    with pytest.raises(BundleError, match=r"state\.v: found no such tensor"):
        bundle.write(tmp_path / "a", replace(manifest, state=(TensorSpec("v", (1,)),)), tensors)


def test_a_container_that_is_no_bundle_says_so(tmp_path: Path) -> None:
    container.write(tmp_path / "a", {}, {"regrow_delta": "{}"})
    with pytest.raises(BundleError, match="this is no bundle; give a bundle"):
        bundle.read(tmp_path / "a")


def test_failed_write_leaves_the_old_bundle(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(RegrowError, match="parents are directories"):
        bundle.write(tmp_path / "file" / "a.regrow", *tiny())
    assert (tmp_path / "file").read_bytes() == b"old"


def test_opening_half_a_megabyte_takes_milliseconds(tiny: Tiny, tmp_path: Path) -> None:
    manifest, tensors = tiny()
    rng = np.random.default_rng(0)
    entries = list(manifest.parameters)
    for i in range(8):
        kept = rng.random((64, 64, 3, 3)) < 0.3
        w = np.where(kept, rng.standard_normal(kept.shape), 0).astype(np.float32)
        entry, parts = bundle.pack_parameter(f"blocks.{i}.weight", w, "kept", kept)
        entries.append(entry)
        tensors |= parts
    path = tmp_path / "a.regrow"
    bundle.write(path, replace(manifest, parameters=tuple(entries)), tensors)
    assert path.stat().st_size > 350_000
    times = []
    for _ in range(7):
        start = time.perf_counter()
        bundle.read(path)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05  # some 5 ms on a laptop core; the margin is for a busy machine
