"""A small ONNX graph builder: nodes, shared constants, nested bodies. Standard ops only."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9
ELEMENT = {
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
}
Input = str | NDArray[Any]


class OnnxBuilder:
    """Collects nodes; a nested builder (a Loop body) shares its parent's constants and outer values."""

    def __init__(self, parent: "OnnxBuilder | None" = None, prefix: str = "") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.prefix = prefix
        self.initializers: dict[str, onnx.TensorProto] = {} if parent is None else parent.initializers
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = (
            {} if parent is None else parent._constants
        )
        self._numbers: Iterator[int] = count() if parent is None else parent._numbers
        self._aliases: list[tuple[str, str]] = []

    def fresh(self) -> str:
        """A name not used before; short, since graphs travel to devices."""
        return f"{self.prefix}{next(self._numbers)}"

    def const(self, array: NDArray[Any]) -> str:
        """An initializer; equal arrays share one."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = str(next(self._numbers))
            self._constants[key] = name
            self.initializers[name] = numpy_helper.from_array(array, name)
        return self._constants[key]

    def multi(self, kind: str, inputs: Sequence[Input], count: int, **attrs: Any) -> list[str]:
        """Append a node with `count` outputs."""
        names = [x if isinstance(x, str) else self.const(x) for x in inputs]
        outputs = [self.fresh() for _ in range(count)]
        self.nodes.append(helper.make_node(kind, names, outputs, **attrs))
        return outputs

    def node(self, kind: str, *inputs: Input, **attrs: Any) -> str:
        """Append a node with one output."""
        return self.multi(kind, inputs, 1, **attrs)[0]

    def alias(self, source: str, name: str) -> None:
        """Give a value its public name, or one more."""
        self._aliases.append((source, name))

    def finish(self) -> list[onnx.NodeProto]:
        """All nodes, public names applied: by renaming where a node here makes the value, else by a copy."""
        made = {name for node in self.nodes for name in node.output}
        names: dict[str, str] = {}
        for source, name in self._aliases:
            if source in made and source not in names:
                names[source] = name
            else:
                self.nodes.append(helper.make_node("Identity", [source], [name]))
        self._aliases.clear()
        _rename(self.nodes, names)
        return self.nodes


def _rename(nodes: Iterable[onnx.NodeProto], names: Mapping[str, str]) -> None:
    """Nested graphs see the values of the outer one."""
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g.node, names)


def f32(value: float) -> NDArray[np.float32]:
    """A float32 scalar constant."""
    return np.asarray(value, np.float32)


def i64(*values: int) -> NDArray[np.int64]:
    """An int64 vector constant."""
    return np.array(values, np.int64)


def external(name: str, dtype: str, shape: Sequence[int]) -> onnx.TensorProto:
    """An initializer whose bytes the engine binds at load; the file holds only its type."""
    tensor = TensorProto(name=name, data_type=ELEMENT[dtype], dims=shape, data_location=TensorProto.EXTERNAL)
    length = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    for key, value in (("location", "regrow"), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def info(name: str, dtype: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    """Type and shape of a graph input or output."""
    return helper.make_tensor_value_info(name, ELEMENT[dtype], shape)
