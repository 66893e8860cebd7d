"""Frozen tensors of a standalone graph in few bytes, decoded by standard ops that a runtime folds at load.

A sparse tensor is a byte per kept position, its distance from the one before, summed up and scattered into
zeros; a byte of 255 only adds to the next distance. fp16 is cast; int8 is cast and multiplied by its scales
(DequantizeLinear would do, but onnxruntime keeps that for every run). After folding, RAM holds dense fp32.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from regrow.encoding import PARTS, encode
from regrow.values import SCALES, Mask, Values

_ESCAPE = 255


@dataclass
class Decoder:
    """Nodes and initializers that make one tensor."""

    name: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """What it takes in a file."""
        sizes = [n.ByteSize() for n in self.nodes] + [t.ByteSize() for t in self.initializers]
        return int(sum(sizes))

    def const(self, part: str, value: Any, dtype: Any = np.int64) -> str:
        """Store an array under the tensor's name and the part's."""
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), f"{self.name}/{part}"))
        return self.initializers[-1].name

    def node(self, kind: str, *inputs: str, **attrs: Any) -> str:
        """Append a node with one output."""
        output = f"{self.name}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attrs))
        return output

    def finish(self) -> "Decoder":
        """The last node makes the tensor itself."""
        self.nodes[-1].output[0] = self.name
        return self


def compact(
    name: str, public: str, array: NDArray[Any], kept: Mapping[str, Mask], values: Mapping[str, Values]
) -> Decoder | None:
    """The decoder of a tensor, where it is smaller than the tensor."""
    if array.dtype == np.bool_:
        made = _mask(Decoder(public), array) if array.any() else None
    elif array.dtype == np.float32:
        made = _weights(Decoder(public), array, kept.get(name), values.get(name, "fp32"))
    else:
        made = None
    dense = numpy_helper.from_array(array, public).ByteSize()
    return made if made is not None and made.nbytes < dense else None


def _mask(to: Decoder, mask: Mask) -> Decoder:
    ones = to.node("ConstantOfShape", to.const("count", [np.count_nonzero(mask)]), value=_filler(True))
    return _scatter(to, ones, mask, _filler(False)).finish()


def _weights(to: Decoder, w: NDArray[np.float32], kept: Mask | None, values: Values) -> Decoder | None:
    encoded = encode(w, kept, values)
    if (encoded.kind == "dense" and values == "fp32") or (kept is not None and not kept.any()):
        return None
    main = encoded.parts[PARTS[encoded.kind][0]]
    made = to.const("values", main, main.dtype)
    made = made if values == "fp32" else to.node("Cast", made, to=TensorProto.FLOAT)
    if encoded.kind != "dense" and kept is not None:
        _scatter(to, made, kept, _filler(np.float32(0)))
    if SCALES in encoded.parts:
        scales = encoded.parts[SCALES].reshape(-1, *[1] * (w.ndim - 1))
        to.node("Mul", to.nodes[-1].output[0], to.const(SCALES, scales, np.float32))
    return to.finish()


def _scatter(to: Decoder, updates: str, kept: Mask, filler: onnx.TensorProto) -> Decoder:
    """Put `updates` at the kept positions of a tensor filled with one value."""
    blank = to.node("ConstantOfShape", to.const("size", [kept.size]), value=filler)
    flat = to.node("ScatterElements", blank, _positions(to, kept), updates, axis=0)
    to.node("Reshape", flat, to.const("shape", kept.shape))
    return to


def _positions(to: Decoder, kept: Mask) -> str:
    stream = distances(kept)
    steps = to.node("Cast", to.const("gaps", stream, np.uint8), to=TensorProto.INT64)
    sums = to.node("CumSum", steps, to.const("axis", 0))
    if stream.max() < _ESCAPE:
        return sums
    escapes = to.node("Equal", steps, to.const("escape", _ESCAPE))
    return to.node("Compress", sums, to.node("Not", escapes), axis=0)


def distances(kept: Mask) -> NDArray[np.uint8]:
    """Distances between kept positions (the first from position 0); every 255 adds to the next byte."""
    steps = np.diff(np.flatnonzero(kept), prepend=0)
    escapes, rest = np.divmod(steps, _ESCAPE)
    ends = np.cumsum(escapes + 1) - 1
    stream = np.full(int(ends[-1]) + 1, _ESCAPE, np.uint8)
    stream[ends] = rest
    return stream


def _filler(value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array([value]), "value")
