"""The graphs of `onnxsim_loop`: a training step by onnxsim, and a forward pass for what it moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxsim
import torch
from onnxsim.compile_training import CustomOptimizer
from torch import Tensor, nn

from benchmarks.case import Case
from benchmarks.peers.torch_net import Net, build
from benchmarks.workloads import WAYS, Layer


class _Spelled(Net):
    """The network with its norms written out, and biases of zero, without which no shape is static."""

    eps: Tensor

    def __init__(self, case: Case) -> None:
        super().__init__(case.layers, case.shape)
        self.load_state_dict(build(case).state_dict())
        # As a number in the code it would arrive as a cast, which is not differentiated.
        self.register_buffer("eps", torch.tensor(1e-5), persistent=False)
        for name, part in list(self.named_children()):
            if isinstance(part, nn.Conv2d):
                self.register_buffer(f"{name}_bias", torch.zeros(part.out_channels), persistent=False)

    def _apply_layer(self, layer: Layer, x: Tensor) -> Tensor:
        if layer[0] == "conv":
            _, name, _, kernel, stride, groups = layer
            weight, bias = self.get_parameter(f"{name}.weight"), self.get_buffer(f"{name}_bias")
            return nn.functional.conv2d(x, weight, bias, stride, kernel // 2, groups=groups)
        if layer[0] != "norm":
            return super()._apply_layer(layer, x)
        x = x - x.mean((0, 2, 3), keepdim=True)
        deviation = torch.sqrt((x * x).mean((0, 2, 3), keepdim=True) + self.eps)
        gain, shift = (p.reshape(1, -1, 1, 1) for p in self.get_submodule(layer[1]).parameters())
        return x / deviation * gain + shift


class _Loss(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return -(torch.log(torch.softmax(self.net(x), 1)) * y).sum(1, keepdim=True).mean()


class _Outputs(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits


def write(case: Case, step: Path, forward: Path, about: Path) -> None:
    """Both graphs, and which output of the step is which input of the next."""
    spelled = _Spelled(case).train()
    moving = [f"net.{name}" for name in case.moving]
    hot = torch.eye(WAYS)[torch.from_numpy(case.y)]
    example: tuple[Any, ...] = (torch.from_numpy(case.x), hot)
    graph = onnxsim.export_torch_module_to_onnx(
        _Loss(spelled), example, output_names=("loss",), opset_version=18
    )
    as_onnxsim_takes_it(graph)
    made = onnxsim.compile_training_loop(graph, "loss", moving, optimizer=_plain()).step_graph
    onnx.save(made.model, str(step))
    with torch.no_grad():  # equal tensors would become one; what moves is fed, so its values do not matter
        for name, p in spelled.named_parameters():
            if name in case.moving:
                p.normal_()
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        _Outputs(spelled),
        (torch.from_numpy(case.query),),
        input_names=["x"],
        output_names=["logits"],
        dynamic_shapes=({0: batch},),
        dynamo=True,
        optimize=False,  # it would fold what has to be fed
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    _feed(model, moving)
    onnx.save(model, str(forward))
    about.write_text(json.dumps({"state": made.state, "onnxsim": onnxsim.__version__}), encoding="utf-8")


def _plain() -> Any:
    """Gradient descent without momentum, which it takes as a custom optimizer only."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    param, grad, moved = (
        helper.make_tensor_value_info(name, floats, ["n"]) for name in ("param", "grad", "moved")
    )
    rate = helper.make_tensor_value_info("lr", floats, [])
    nodes = [
        helper.make_node("Mul", ["grad", "lr"], ["change"]),
        helper.make_node("Sub", ["param", "change"], ["moved"]),
    ]
    graph = helper.make_graph(nodes, "plain", [param, grad, rate], [moved])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return CustomOptimizer(model, 0)


def _feed(model: onnx.ModelProto, names: list[str]) -> None:
    """Initializers that move become inputs."""
    graph = model.graph
    for tensor in [t for t in graph.initializer if t.name in names]:
        graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
        graph.initializer.remove(tensor)


def as_onnxsim_takes_it(model: onnx.ModelProto) -> None:
    """Constants as initializers, since it differentiates no constant nodes and its own folding would take the
    parameters along; and opset 17, which it writes, where the axes of a mean are an attribute.
    """
    graph, known = model.graph, {}
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        value = onnx.helper.get_attribute_value(node.attribute[0])
        tensor = isinstance(value, onnx.TensorProto)
        known[node.output[0]] = onnx.numpy_helper.to_array(value) if tensor else np.asarray(value)
        graph.node.remove(node)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    reshaped = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Reshape"}
    for node in graph.node:
        if node.op_type == "ReduceMean" and len(node.input) > 1:
            axes = (stored | known)[reshaped.get(name := node.input.pop(), name)]
            node.attribute.append(onnx.helper.make_attribute("axes", axes.reshape(-1).tolist()))
    graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in known.items())
    model.opset_import[0].version = 17
