"""Ops that join and take apart along one axis: concat, split, slice, and rows picked by number."""

from collections.abc import Sequence

import numpy as np

from regrow.ops.schema import Array, Attrs, OpSchema, ints
from regrow.program import Value


def _axis(attrs: Attrs) -> int:
    return int(str(attrs["axis"]))


def _resized(value: Value, axis: int, size: int) -> Value:
    return Value((*value.shape[:axis], size, *value.shape[axis + 1 :]), value.dtype)


def concat_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    axis = _axis(attrs)
    sizes = [v.shape[axis] for v in values]
    if len({_resized(v, axis, 1) for v in values}) > 1 or min(sizes) < 0 <= max(sizes):
        raise ValueError(f"concat: {[v.shape for v in values]} do not join along axis {axis}")
    return [_resized(values[0], axis, sum(sizes))]


def concat(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [np.concatenate(inputs, _axis(attrs))]


def split_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    axis, sizes = _axis(attrs), ints(attrs, "sizes")
    if values[0].shape[axis] != sum(sizes) or min(sizes) < 1:
        raise ValueError(f"split: {sizes} do not add up to axis {axis} of {values[0].shape}")
    return [_resized(values[0], axis, size) for size in sizes]


def split(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    return list(np.split(inputs[0], np.cumsum(ints(attrs, "sizes"))[:-1], _axis(attrs)))


def _range(attrs: Attrs) -> slice:
    return slice(*(int(str(attrs[key])) for key in ("start", "stop", "step")))


def _index(attrs: Attrs) -> tuple[slice, ...]:
    return (*[slice(None)] * _axis(attrs), _range(attrs))


def slice_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    size = values[0].shape[_axis(attrs)]
    kept = len(range(*_range(attrs).indices(max(size, 0))))
    if kept < 1 or _range(attrs).stop > size:
        raise ValueError(f"slice: {_range(attrs)} of axis {_axis(attrs)} of {values[0].shape}")
    return [_resized(values[0], _axis(attrs), kept)]


def slice_back_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    return [_resized(values[0], _axis(attrs), int(str(attrs["size"])))]


def slice_back(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """dy -> dx, zero where nothing was taken."""
    axis = _axis(attrs)
    shape = (*inputs[0].shape[:axis], int(str(attrs["size"])), *inputs[0].shape[axis + 1 :])
    dx = np.zeros(shape, inputs[0].dtype)
    dx[_index(attrs)] = inputs[0]
    return [dx]


def gather_shape(values: Sequence[Value], attrs: Attrs) -> list[Value]:
    table, index = values
    if index.dtype != "int64":
        raise ValueError(f"gather: rows are numbered by int64, not {index.dtype}")
    return [Value((*index.shape, *table.shape[1:]), table.dtype)]


def gather(inputs: Sequence[Array], attrs: Attrs) -> list[Array]:
    """table, index -> rows of the table."""
    return [np.take(inputs[0], inputs[1], axis=0)]


OPS = {
    "concat": OpSchema(concat_shape, concat),
    "split": OpSchema(split_shape, split),
    "slice": OpSchema(slice_shape, lambda inputs, attrs: [inputs[0][_index(attrs)]]),
    "slice_back": OpSchema(slice_back_shape, slice_back),
    "gather": OpSchema(gather_shape, gather),
}
