"""The standalone ONNX files: frozen weights packed, decoded by standard ops that are gone once loaded."""

from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import regrow
from regrow.values import rounded
from regrow_exporter.compact import compact, distances
from tests.exporter.pruned_networks import PRECISIONS, episode, export_small


def kinds(graph):
    """Op types of a graph and all graphs nested in it."""
    found = Counter(node.op_type for node in graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            found += kinds(attribute.g) if attribute.HasField("g") else Counter()
    return found


def loaded(path, optimised):
    """A session of stock onnxruntime with its defaults, and the op types it really runs."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(optimised)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session, kinds(onnx.load(optimised).graph)


def answers(session, feeds):
    names = [o.name for o in session.get_outputs()]
    wanted = {i.name for i in (*session.get_inputs(), *session.get_overridable_initializers())}
    return dict(zip(names, session.run(names, {n: v for n, v in feeds.items() if n in wanted}), strict=True))


def stripped(path):
    """Defaults of the adaptable inputs: the reference evaluator does not take them by itself."""
    return {
        t.name: numpy_helper.to_array(t)
        for t in onnx.load(path).graph.initializer
        if t.name.startswith(("param:", "state:"))
    }


DECODING = {"CumSum", "ScatterElements", "Compress", "ConstantOfShape", "DequantizeLinear"}


@pytest.mark.parametrize("adaptable", [["head.*"], ["blocks.1.*", "blocks.2.*", "head.*"], ["*"]])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_plain_onnx_decodes_at_load_and_agrees_with_the_bundle(tmp_path, precision, adaptable):
    made, adapt, predict = export_small(tmp_path, precision, adaptable)
    x, _, feeds = episode(made)
    for path in (adapt, predict):
        onnx.checker.check_model(str(path), full_check=True)
    session, left = loaded(adapt, tmp_path / "optimised.onnx")
    packed = kinds(onnx.load(adapt).graph)
    assert packed["CumSum"] > 0
    assert not DECODING & set(left)
    out = answers(session, feeds)
    device = regrow.open(made.path).session()
    report = device.adapt(*episode(made)[:2])
    np.testing.assert_allclose(out["loss"], report.losses, rtol=1e-5)
    for name, value in device.parameters.items():
        np.testing.assert_allclose(out[f"new:{name}"], value, rtol=1e-5, atol=1e-6, err_msg=name)
    session, left = loaded(predict, tmp_path / "optimised.onnx")
    assert not DECODING & set(left)
    learnt = {f"param:{n}": v for n, v in device.parameters.items()}
    learnt |= {n: v for n, v in out.items() if n.startswith("stat:")}
    logits = answers(session, {"x": x, **learnt})["logits"]
    np.testing.assert_allclose(logits, device.predict(x).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_second_reader_adapts_to_the_same_parameters(tmp_path, precision):
    made, adapt, _ = export_small(tmp_path, precision, ["blocks.2.*", "head.*"])
    x, y, feeds = episode(made)
    evaluator = ReferenceEvaluator(str(adapt))
    found = dict(zip(evaluator.output_names, evaluator.run(None, stripped(adapt) | feeds), strict=True))
    device = regrow.open(made.path).session()
    device.adapt(x, y)
    for name, value in device.parameters.items():
        np.testing.assert_allclose(found[f"new:{name}"], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_frozen_weights_shrink_and_adaptable_ones_stay_inputs(tmp_path):
    sizes = {}
    for precision in PRECISIONS:
        _, adapt, predict = export_small(tmp_path, precision, ["head.*"], share=0.9)
        sizes[precision] = predict.stat().st_size
        names = {t.name: t for t in onnx.load(adapt).graph.initializer}
        assert names["param:head.weight"].data_type == onnx.TensorProto.FLOAT
        assert "frozen:blocks.1.conv.weight" not in names
    assert sizes["fp32"] > sizes["fp16"]


def decoded(decoder):
    """The tensor a decoder makes, by the reference evaluator and by onnxruntime."""
    element = onnx.TensorProto.FLOAT if decoder.name != "m" else onnx.TensorProto.BOOL
    output = helper.make_tensor_value_info(decoder.name, element, None)
    graph = helper.make_graph(decoder.nodes, "g", [], [output], decoder.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return ReferenceEvaluator(model).run(None, {})[0], session.run(None, {})[0]


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_decoder_gives_the_very_tensor(precision, share):
    rng = np.random.default_rng(5)
    kept = rng.random((16, 12, 5, 5)) > share
    w = rounded(np.where(kept, rng.standard_normal(kept.shape), 0).astype(np.float32), precision)
    made = compact("w", "w", w, {"w": kept}, {"w": precision})
    assert made.nbytes < w.nbytes
    for found in decoded(made):
        assert found.tobytes() == w.tobytes()
        assert found.shape == w.shape
    for found in decoded(compact("m", "m", kept, {}, {})):
        np.testing.assert_array_equal(found, kept)


def test_what_would_not_shrink_is_left_alone():
    rng = np.random.default_rng(6)
    w = rng.standard_normal((8, 8)).astype(np.float32)
    assert compact("w", "w", w, {}, {}) is None
    assert compact("w", "w", w, {"w": w > -9}, {}) is None
    assert compact("w", "w", np.zeros_like(w), {"w": w > 9}, {}) is None
    assert compact("w", "w", w[:1, :3], {}, {"w": "fp16"}) is None
    assert compact("i", "i", np.arange(900), {}, {}) is None
    assert compact("m", "m", np.zeros((90, 90), np.bool_), {}, {}) is None


@pytest.mark.parametrize("places", [[0], [254, 255], [255, 510, 511], [3, 1000, 1255, 1511], [1599]])
def test_distances_escape_beyond_a_byte(places):
    kept = np.zeros(1600, np.bool_)
    kept[places] = True
    stream = distances(kept)
    sums = np.cumsum(stream.astype(np.int64))
    assert sums[stream < 255].tolist() == places
    assert len(stream) <= len(places) + 1600 // 255
