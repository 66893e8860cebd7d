"""The engine table, and stock onnxruntime bound to graphs that carry no weights."""

import re
from collections.abc import Callable
from importlib import util
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regrow
from regrow import engines
from regrow.engines.wire import external_names

Make = Callable[..., regrow.Model]


def test_auto_is_the_first_engine_that_is_present(tiny: ModuleType) -> None:
    name, engine = engines.pick()
    assert name == engines.available()[0]
    assert callable(engine)


def test_a_missing_engine_names_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    for name, remedy in (
        ("auto", "C compiler"),
        ("auto", "regrow[onnx]"),
        ("onnx", "regrow[onnx]"),
        ("native", "C compiler"),
    ):
        with pytest.raises(regrow.UnsupportedError, match=re.escape(remedy)):
            engines.pick(name)
    assert engines.available() == ()


def test_the_wire_reader_finds_the_external_initializers(tiny: ModuleType) -> None:
    assert external_names(tiny.graph("adapt"), "g") == ("frozen:scale", "meta:lr", "mask:head.weight")
    assert external_names(tiny.graph("predict"), "g") == ("frozen:scale",)


def test_the_wire_reader_refuses_what_is_cut_or_foreign(tiny: ModuleType) -> None:
    graph = tiny.graph("predict")
    whole = external_names(graph, "g")
    refusals = []
    for end in range(len(graph)):
        try:
            assert set(external_names(graph[:end], "g")) <= set(whole)
        except regrow.BundleError as error:
            refusals.append(str(error))
    assert len(refusals) > len(graph) // 2
    assert all(message.startswith("g: found no readable ONNX graph") for message in refusals)
    rng = np.random.default_rng(0)
    for _ in range(300):
        noise = bytearray(graph)
        for at in rng.integers(0, len(graph), 3):
            noise[at] ^= 1 << int(rng.integers(8))
        try:
            external_names(bytes(noise), "g")
        except regrow.BundleError:
            continue


def test_frozen_weights_reach_the_engine(tiny: ModuleType, make: Make) -> None:
    x, _ = tiny.support()
    for seed in (0, 1):
        model = make(f"seed{seed}", seed=seed)
        w = tiny.weights(seed)
        logits = model.engine.predict(x, model.session().parameters, {"mean": np.ones((1, 6), np.float32)})
        np.testing.assert_allclose(logits, ((x - 1) * w["scale"]) @ w["head.weight"].T, rtol=1e-4, atol=1e-5)


def external(tiny: ModuleType, name: str, graph: str = "predict") -> bytes:
    import onnx

    model = onnx.load_from_string(tiny.graph(graph))
    model.graph.initializer.append(tiny._external(name, onnx.TensorProto.FLOAT, (6,)))
    return bytes(model.SerializeToString())


def changed(tiny: ModuleType, graph: str, change: Callable[[Any], None]) -> bytes:
    import onnx

    model = onnx.load_from_string(tiny.graph(graph))
    change(model.graph)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("engine", ["onnx"], indirect=True)
def test_graphs_that_do_not_belong_to_the_bundle_are_refused(tiny: ModuleType, make: Make) -> None:
    def other_shape(graph: Any) -> None:
        graph.initializer[0].dims[0] = 7

    def other_output(graph: Any) -> None:
        graph.output[0].name = graph.node[-1].output[0] = "scores"

    def other_input(graph: Any) -> None:
        graph.input.add().CopyFrom(graph.input[0])
        graph.input[-1].name = "secret"

    bad = {
        "names nothing in the bundle": external(tiny, "frozen:nobody"),
        "initializer 'head.bias'": external(tiny, "head.bias"),
        "could not be loaded": changed(tiny, "predict", other_shape),
        r"outputs \['scores'\], expected \['logits'\]": changed(tiny, "predict", other_output),
        r"differs in \['secret'\]": changed(tiny, "predict", other_input),
        "no readable ONNX graph": b"\xff" * 40,
        "could not be loaded ": b"",
    }
    for i, (message, graph) in enumerate(bad.items()):
        model = make(f"bad{i}", graphs={"predict": graph})
        with pytest.raises(regrow.BundleError, match=message) as caught:
            model.session().predict(tiny.support()[0])
        assert "graph predict" in str(caught.value)
        assert "export the bundle again" in str(caught.value)


def test_running_twice_gives_the_same_bits(tiny: ModuleType, model: regrow.Model) -> None:
    made = []
    for _ in range(3):
        session = model.session()
        session.adapt(*tiny.support())
        made.append(
            (session.parameters["head.weight"].tobytes(), session.predict(tiny.support()[0]).logits.tobytes())
        )
    assert len(set(made)) == 1


def test_a_tensor_stored_dense_moves_everywhere(
    tiny: ModuleType, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = np.ones((tiny.C, tiny.D), np.bool_)
    monkeypatch.setattr(tiny, "kept", lambda seed=0: everywhere)
    model = make()
    assert "head.weight" not in model.bundle.kept
    session = model.session()
    session.adapt(*tiny.support())
    assert (session.parameters["head.weight"] != model.bundle.params["head.weight"]).all()
