"""Write programs as ONNX: predict, the K-step adaptation in one Loop, and the gradient that proves it.

Without `data` a graph carries no weights: everything frozen is an external initializer the engine binds. With
it a graph carries all of it: adaptable values as inputs with a default, frozen ones as `shrink` packs them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from regrow.program import Program, Value
from regrow_exporter.compact import Decoder
from regrow_exporter.onnx_builder import IR_VERSION, OPSET, OnnxBuilder, external, info
from regrow_exporter.ops import ONNX

Arrays = Mapping[str, NDArray[Any]]
Names = dict[str, str]
# (program name, name in the graph, tensor) -> how to store a frozen tensor, None where as it is
Shrink = Callable[[str, str, NDArray[Any]], Decoder | None]


def onnx_name(name: str, value: Value) -> str:
    """The public name of a program input in a graph."""
    if value.role == "adaptable":
        return f"param:{name}"
    if value.role == "frozen" and not name.startswith(("meta:", "mask:")):
        return f"frozen:{name}"
    return name


class _Interface:
    """Collects graph inputs and initializers for the program inputs that are really read."""

    def __init__(self, builder: OnnxBuilder, data: Arrays | None, shrink: Shrink | None) -> None:
        self.builder, self.data, self.shrink = builder, data, shrink
        self.inputs: list[onnx.ValueInfoProto] = []
        self.decoders: list[Decoder] = []
        self.names: Names = {}

    def add(self, program: Program) -> None:
        for name in program.inputs:
            value = program.values[name]
            if name not in self.names and value.role != "temp" and name != "step":
                self.names[name] = public = onnx_name(name, value)
                self._declare(name, public, value)

    def _declare(self, name: str, public: str, value: Value) -> None:
        if value.role != "frozen":
            self.inputs.append(info(public, value.dtype, ["B" if d < 0 else d for d in value.shape]))
        elif self.data is None:
            self.builder.initializers[public] = external(public, value.dtype, value.shape)
        if self.data is None or value.role in ("input", "temp"):
            return
        array = self.data[name]
        decoder = self.shrink(name, public, array) if self.shrink and value.role == "frozen" else None
        if decoder is None:
            self.builder.initializers[public] = numpy_helper.from_array(array, public)
        else:
            self.decoders.append(decoder)


def emit(builder: OnnxBuilder, program: Program, names: Mapping[str, str]) -> Names:
    """Append a program's nodes; returns the ONNX name of each of its values."""
    known = dict(names)
    for op in program.ops:
        outputs = ONNX[op.kind](builder, [known[n] for n in op.inputs], op, program.values)
        known.update({n: o for n, o in zip(op.outputs, outputs, strict=True) if n})
    return known


def write_adapt(
    programs: Mapping[str, Program], data: Arrays | None, shrink: Shrink | None = None
) -> onnx.ModelProto:
    """K steps in one Loop; prefix before it, loss and statistics under the adapted parameters after it."""
    builder = OnnxBuilder()
    face = _Interface(builder, data, shrink)
    for key in ("prefix", "step", "finish"):
        face.add(programs[key])
    names = emit(builder, programs["prefix"], face.names)
    step = programs["step"]
    carried = [name.removeprefix("next:") for name in step.outputs if name.startswith("next:")]
    face.inputs.append(info("steps", "int64", []))
    results = [builder.fresh() for _ in (*carried, "loss")]
    body = _body(builder, step, names, carried)
    ready = builder.const(np.asarray(True))
    builder.nodes.append(
        helper.make_node("Loop", ["steps", ready, *(names[n] for n in carried)], results, body=body)
    )
    final = emit(builder, programs["finish"], names | dict(zip(carried, results, strict=False)))
    builder.alias(builder.node("Reshape", results[-1], np.array([-1], np.int64)), "loss")
    outputs = [info("loss", "float32", ["steps"])]
    for name, result in zip(carried, results, strict=False):
        value = step.values[name]
        public = f"newstate:{name.removeprefix('state:')}" if value.role == "state" else f"new:{name}"
        builder.alias(result, public)
        outputs.append(info(public, value.dtype, value.shape))
    for name in programs["finish"].outputs:
        public = "final_loss" if name == "loss" else name
        builder.alias(final[name], public)
        outputs.append(info(public, "float32", programs["finish"].values[name].shape))
    return _model(builder, "adapt", face, outputs)


def _body(outer: OnnxBuilder, step: Program, names: Mapping[str, str], carried: list[str]) -> onnx.GraphProto:
    builder = OnnxBuilder(outer, "/")
    inside = {name: builder.fresh() for name in carried}
    number, go_on = builder.fresh(), builder.fresh()
    known = emit(builder, step, {**names, **inside, "step": number})
    keep_going = builder.node("Identity", go_on)
    loss = builder.node("Reshape", known["loss"], np.array([1], np.int64))
    inputs = [info(number, "int64", []), info(go_on, "bool", [])]
    inputs += [info(inside[n], step.values[n].dtype, step.values[n].shape) for n in carried]
    outputs = [info(keep_going, "bool", [])]
    for name in carried:
        value, result = step.values[name], builder.fresh()
        builder.alias(known[f"next:{name}"], result)
        outputs.append(info(result, value.dtype, value.shape))
    return helper.make_graph(builder.finish(), "step", inputs, [*outputs, info(loss, "float32", [1])])


def write_single(
    program: Program, data: Arrays | None, graph: str, shrink: Shrink | None = None
) -> onnx.ModelProto:
    """A program that runs straight through, such as predict."""
    builder = OnnxBuilder()
    face = _Interface(builder, data, shrink)
    face.add(program)
    known = emit(builder, program, face.names)
    outputs = []
    for name in program.outputs:
        value = program.values[name]
        builder.alias(known[name], name)
        outputs.append(info(name, value.dtype, ["B" if d < 0 else d for d in value.shape]))
    return _model(builder, graph, face, outputs)


def _model(
    builder: OnnxBuilder, name: str, face: _Interface, outputs: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    nodes = builder.finish()
    used = _read_names(nodes)
    initializers = [t for key, t in builder.initializers.items() if key in used]
    decoders = [decoder for decoder in face.decoders if decoder.name in used]
    initializers += [t for decoder in decoders for t in decoder.initializers]
    nodes = [node for decoder in decoders for node in decoder.nodes] + nodes
    graph = helper.make_graph(nodes, name, face.inputs, outputs, initializers)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="regrow"
    )
    if not any(t.data_location == TensorProto.EXTERNAL for t in initializers):
        onnx.checker.check_model(model, full_check=True)
    return model


def _read_names(nodes: list[onnx.NodeProto]) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        names.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                names |= _read_names(list(attribute.g.node))
    return names
