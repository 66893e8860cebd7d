"""In few bytes: what a pruned Conv4-64 takes as a bundle, beside what others make of it."""

import io
import os
import subprocess
import sys
import zipfile
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
safetensors = pytest.importorskip("safetensors.torch")

from onnx import helper, numpy_helper

import regrow
from regrow import bundle, reference, selftest
from regrow.values import information_bound, rounded
from regrow_exporter import export
from regrow_exporter.precision import choose
from regrow_trainer.backbones.conv4 import Conv4
from tests.exporter.networks import network
from tests.exporter.pruned_networks import PRECISIONS, episode, export_small, pruned

# Mask + values of the convolutions at 85 %, and how many times smaller than dense fp32 ONNX the file must be.
TARGETS = {"fp32": (75_181, 4.5), "fp16": (41_829, 7.0), "int8": (26_177, 9.0)}


@pytest.fixture(scope="module", params=PRECISIONS)
def conv4(request, tmp_path_factory):
    """Conv4-64 for 28x28 images and five ways, 85 % of its convolutions pruned, everything adaptable."""
    torch.manual_seed(0)
    module = Conv4(width=64)
    masks = pruned(module)
    folder = tmp_path_factory.mktemp(request.param)
    made = export(
        module,
        torch.rand(8, 1, 28, 28),
        adaptable=["*"],
        masks=masks,
        precision=request.param,
        path=folder / "conv4.regrow",
        onnx=folder,
    )
    return SimpleNamespace(module=module, masks=masks, made=made, folder=folder, precision=request.param)


def dense_onnx(folder):
    """The prediction network as anyone would export it: fp32, every weight an initializer and no input."""
    model = onnx.load(folder / "predict.onnx")
    weights = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def run(model, x):
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    shapes = {i.name: i.shape for i in session.get_inputs() if i.name != "x"}
    return session.run(["logits"], {"x": x, **{n: np.ones(s, np.float32) for n, s in shapes.items()}})[0]


def test_a_pruned_conv4_is_as_small_as_promised(conv4):
    bound, ratio = TARGETS[conv4.precision]
    made = conv4.made
    weights = [p for p in made.manifest.parameters if len(p.shape) == 4]
    assert sum(p.size for p in weights) == 111_168
    assert sum(information_bound(p.shape, p.kept, p.values) for p in weights) <= bound * 1.001
    assert sum(p.bytes for p in weights) <= 1.03 * bound
    assert made.bytes == made.path.stat().st_size
    assert made.bytes * ratio <= dense_onnx(conv4.folder).ByteSize() <= made.dense_onnx_bytes


def test_masks_and_rounded_values_come_back_exactly(conv4):
    read = bundle.read(conv4.made.path)
    values = {p.name: p.values for p in read.manifest.parameters}
    for name, parameter in conv4.module.named_parameters():
        want = rounded(parameter.detach().numpy(), values[name])
        np.testing.assert_array_equal(read.params[name], want)
    for name, mask in conv4.masks.items():
        np.testing.assert_array_equal(read.kept[name], mask.numpy())
        assert values[name] == ("fp16" if conv4.precision == "int8" and "0" in name else conv4.precision)


@pytest.mark.parametrize("conv4", ["fp32"], indirect=True)
def test_others_need_more_bytes_for_less(conv4):
    """Each peer is built and read back; none of them can adapt, the bundle brings the programs for it too."""
    dense = dense_onnx(conv4.folder)
    x = selftest.episode(1, 5, 5, (1, 28, 28))[0]
    expected = run(dense, x)
    sparse = onnx.ModelProto.FromString(dense.SerializeToString())
    for tensor in list(sparse.graph.initializer):
        array = numpy_helper.to_array(tensor)
        if array.ndim == 4:
            at = np.flatnonzero(array)
            found = numpy_helper.from_array(array.reshape(-1)[at], tensor.name)
            places = numpy_helper.from_array(at.astype(np.int64))
            sparse.graph.sparse_initializer.append(helper.make_sparse_tensor(found, places, array.shape))
            sparse.graph.initializer.remove(tensor)
    onnx.checker.check_model(sparse)
    np.testing.assert_array_equal(run(sparse, x), expected)
    squeezed = zlib.compress(dense.SerializeToString(), 9)
    np.testing.assert_array_equal(run(zlib.decompress(squeezed), x), expected)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("model.safetensors", safetensors.save(conv4.module.state_dict()))
    with zipfile.ZipFile(zipped) as archive:
        state = safetensors.load(archive.read("model.safetensors"))
    assert all(torch.equal(state[n], p) for n, p in conv4.module.named_parameters())
    peers = {"sparse": sparse.ByteSize(), "zlib": len(squeezed), "zip": len(zipped.getvalue())}
    assert conv4.made.bytes < min(peers.values()), peers


@pytest.mark.parametrize(
    ("shape", "kept", "peak", "precision", "expected"),
    [
        ((8, 100), 800, 1.0, "fp32", "fp32"),
        ((8, 100), 800, 1.0, "fp16", "fp16"),
        ((8, 100), 800, 1.0, "int8", "int8"),
        ((8, 100), 32, 1.0, "int8", "fp16"),  # 64 bytes; in int8 as many, less precise
        ((8, 100), 33, 1.0, "int8", "int8"),
        ((8, 100), 20, 1e5, "int8", "int8"),
        ((8, 100), 800, 1e5, "fp16", "fp32"),
        ((8, 100), 800, 3e38, "int8", "fp32"),
        ((64,), 64, 1.0, "int8", "fp16"),
        ((), 1, 1.0, "int8", "fp16"),
        ((8, 100), 800, np.inf, "int8", "fp32"),
        ((8, 100), 800, np.nan, "fp16", "fp32"),
    ],
)
def test_the_smallest_precise_enough_values_are_chosen(shape, kept, peak, precision, expected):
    assert choose(np.full(shape, peak, np.float32), kept, precision) == expected


def test_a_kept_weight_that_rounds_to_zero_is_still_kept(tmp_path):
    module, shape, _ = network("conv4")
    masks = pruned(module, 0.5)
    name = "blocks.1.conv.weight"
    with torch.no_grad():
        weight = dict(module.named_parameters())[name]
        at = tuple(int(i) for i in masks[name].nonzero()[0])
        weight[at] = 1e-6
    for wish in (masks, "zeros"):
        path = tmp_path / "m.regrow"
        export(module, torch.rand(8, *shape), adaptable=["*"], masks=wish, precision="int8", path=path)
        read = bundle.read(path)
        assert read.kept[name][at]
        assert read.params[name][at] == 0.0
        np.testing.assert_array_equal(read.kept[name], masks[name].numpy())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_inputs_give_the_same_files(tmp_path, precision):
    written = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        export_small(tmp_path / folder, precision, ["blocks.2.*", "head.*"])
        files = [p for p in sorted((tmp_path / folder).rglob("*")) if p.is_file()]
        written.append({p.name: p.read_bytes() for p in files})
    assert set(written[0]) == {"m.regrow", "adapt.onnx", "predict.onnx", "manifest.json"}
    assert written[0] == written[1]


AGAIN = """
import sys
from pathlib import Path
from tests.exporter.pruned_networks import export_small
export_small(Path(sys.argv[1]), "int8", ["blocks.2.*", "head.*"])
"""


@pytest.mark.slow
def test_another_process_writes_the_same_files(tmp_path):
    written = []
    for seed in ("1", "2"):  # of the order in which sets are walked
        folder = tmp_path / seed
        folder.mkdir()
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        subprocess.run([sys.executable, "-c", AGAIN, str(folder)], check=True, timeout=300, env=env)
        written.append({p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert len(written[0]) == 4
    assert written[0] == written[1]


def test_the_stored_programs_compute_what_the_engine_computes(tmp_path):
    made, _, _ = export_small(tmp_path, "int8", ["blocks.2.*", "head.*"])
    x, y, feeds = episode(made)
    model = regrow.open(made.path)
    device = model.session()
    device.adapt(x, y)
    read = model.bundle
    programs = {name: read.program(name) for name in read.manifest.programs}
    moves = {f"mask:{p.name}": read.kept[p.name] for p in model.adaptable if p.adaptable == "kept"}
    known, _ = reference.adapt(programs, {**read.params, "meta:lr": read.meta["lr"], **moves, **feeds}, 3)
    for name, value in device.parameters.items():
        np.testing.assert_allclose(known[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
