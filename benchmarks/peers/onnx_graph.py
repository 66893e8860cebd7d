"""The network of a case as a forward ONNX graph, by onnx.helper, which old and new onnx have."""

from __future__ import annotations

from itertools import count
from typing import Any, Literal

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from benchmarks.case import Case
from benchmarks.workloads import WAYS, Layer

Norms = Literal["batch", "folded"]


class _Writer:
    """Nodes and initializers in the making."""

    def __init__(self, case: Case, norms: Norms) -> None:
        self.case, self.norms = case, norms
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.numbers = count()

    def constant(self, name: str, array: Any) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> str:
        names = [f"{kind.lower()}_{next(self.numbers)}" for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=names[0] + "_node", **attributes))
        return names[0]

    def layer(self, layer: Layer, x: str) -> str:
        weights = self.case.weights
        match layer:
            case ("residual", main, short):
                a = b = x
                for inner in main:
                    a = self.layer(inner, a)
                for inner in short:
                    b = self.layer(inner, b)
                return self.node("Add", [a, b])
            case ("conv", name, _, kernel, stride, groups):
                weight = weights[f"{name}.weight"]
                inputs = [x, self.constant(initializer(f"{name}.weight"), weight)]
                if self.norms == "folded":
                    inputs.append(self.constant(f"{name}_folded", np.zeros(len(weight), np.float32)))
                attributes: dict[str, Any] = {
                    "kernel_shape": [kernel] * 2,
                    "pads": [kernel // 2] * 4,
                    "strides": [stride] * 2,
                }
                return self.node("Conv", inputs, group=groups, **attributes)
            case ("norm", name):
                return x if self.norms == "folded" else self._norm(name, x)
            case ("linear", name, _):
                pair = [
                    self.constant(initializer(f"{name}.{part}"), weights[f"{name}.{part}"])
                    for part in ("weight", "bias")
                ]
                return self.node("Gemm", [x, *pair], transB=1)
            case ("relu",):
                return self.node("Relu", [x])
            case ("pool",):
                return self.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
            case ("mean",):
                return self.node("Flatten", [self.node("GlobalAveragePool", [x])], axis=1)
            case ("flatten",):
                return self.node("Flatten", [x], axis=1)
        raise NotImplementedError(f"layer {layer!r}")

    def _norm(self, name: str, x: str) -> str:
        gain, shift = (self.case.weights[f"{name}.{part}"] for part in ("weight", "bias"))
        inputs = [
            self.constant(initializer(f"{name}.weight"), gain),
            self.constant(initializer(f"{name}.bias"), shift),
            self.constant(f"{name}_mean", np.zeros_like(gain)),
            self.constant(f"{name}_var", np.ones_like(gain)),
        ]
        return self.node("BatchNormalization", [x, *inputs], 3, epsilon=1e-5, training_mode=1)


def initializer(name: str) -> str:
    """What a parameter is called in the graph."""
    return name.replace(".", "_")


def build(case: Case, norms: Norms) -> ModelProto:
    """A checked model; `folded` leaves the norms out, as folding them into the filters does."""
    writer, x = _Writer(case, norms), "input"
    for layer in case.layers:
        x = writer.layer(layer, x)
    writer.nodes[-1].output[0] = "logits"
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *case.shape])
    exit_ = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", WAYS])
    graph = helper.make_graph(writer.nodes, "case", [entry], [exit_], writer.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    model.ir_version = 8
    checker.check_model(model)
    return model
