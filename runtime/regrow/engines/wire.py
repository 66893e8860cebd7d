"""Names an ONNX graph wants bound, read from its protobuf wire format. Knows no other part of ONNX.

The device has no `onnx` package, and stock onnxruntime fails both when an external initializer stays unbound
and when one is bound that the graph does not have; so the graph itself must be asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from regrow.errors import BundleError

# Field numbers of onnx.proto: ModelProto.graph, GraphProto.initializer, TensorProto.name and .data_location.
_GRAPH, _INITIALIZER, _NAME, _LOCATION = 7, 5, 8, 14
_EXTERNAL = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def external_names(graph: bytes, place: str) -> tuple[str, ...]:
    """The top-level initializers of an ONNX model that are marked external, in file order."""
    try:
        return tuple(
            name
            for number, body in _fields(memoryview(graph))
            if number == _GRAPH and isinstance(body, memoryview)
            for name in _initializers(body)
        )
    except (IndexError, ValueError) as error:
        raise BundleError(
            f"{place}: found no readable ONNX graph ({error}), expected one; export the bundle again"
        ) from error


def _initializers(graph: memoryview) -> Iterator[str]:
    for number, body in _fields(graph):
        if number != _INITIALIZER or not isinstance(body, memoryview):
            continue
        name, location = "", 0
        for inner, value in _fields(body):
            if inner == _NAME and isinstance(value, memoryview):
                name = str(value, "utf-8")
            elif inner == _LOCATION and isinstance(value, int):
                location = value
        if location == _EXTERNAL:
            yield name


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(field number, value) of one message; fixed-width values are not needed and come as zero."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif kind == _BYTES:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError(f"a field of {length} bytes where {len(data) - at} are left")
            yield key >> 3, data[at : at + length]
            at += length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
            yield key >> 3, 0
        else:
            raise ValueError(f"wire type {kind}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 10 bytes")
