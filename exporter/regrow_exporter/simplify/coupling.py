"""Which indices of which axes of all values are one and the same channel, and which of those must stay.

Adding two values couples their channels, a norm its vectors to what it norms, a layer its rows to what it
makes and its columns to what it reads. A set of coupled indices is cut out whole or not at all. An op without
a rule here keeps all that it touches, so a network with unusual parts loses less, never anything it needs.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from regrow.ops.schema import ints
from regrow.program import Op
from regrow.values import Mask
from regrow_exporter.simplify.blocks import blocks
from regrow_exporter.simplify.known import BINARY, UNARY, Known, layer_axis
from regrow_exporter.simplify.net import Net
from regrow_exporter.simplify.reading import reading

Ids = NDArray[np.int64]


class Coupling:
    """Sets of indices, joined as the ops say."""

    def __init__(self, net: Net, known: Mapping[str, Known]) -> None:
        self.net, self.known = net, known
        self._parent: list[int] = []
        self._stays: list[bool] = []
        self._ids: dict[str, tuple[Ids, ...]] = {}
        for name, value in net.values.items():
            if value.role not in ("frozen", "temp"):
                self.keep(name)
        for op in net.ops:
            RULES.get(op.kind, _whole)(self, op)
        for name in net.outputs:
            self.keep(name)

    def ids(self, name: str) -> tuple[Ids, ...]:
        """A number per index of every axis; none along the batch."""
        if name not in self._ids:
            made = []
            for d in self.net.values[name].shape:
                start = len(self._parent)
                self._parent += range(start, start + max(d, 0))
                self._stays += [False] * max(d, 0)
                made.append(np.arange(start, len(self._parent)))
            self._ids[name] = tuple(made)
        return self._ids[name]

    def join(self, a: Ids, b: Ids) -> None:
        """Index by index the same channel; along the batch there are none."""
        for i, j in zip(a.tolist(), b.tolist(), strict=True):
            i, j = self._root(i), self._root(j)
            self._parent[j] = i
            self._stays[i] = self._stays[i] or self._stays[j]

    def stay(self, ids: Ids) -> None:
        """These are needed, and so is what they are coupled with."""
        for i in ids.tolist():
            self._stays[self._root(i)] = True

    def keep(self, name: str) -> None:
        """The whole value is needed."""
        for ids in self.ids(name):
            self.stay(ids)

    def stays(self, ids: Ids) -> Mask:
        """Which of them are needed."""
        return np.array([self._stays[self._root(i)] for i in ids.tolist()], np.bool_)

    def kept(self) -> dict[str, tuple[Mask, ...]]:
        """Per value that something can be cut from: what stays of each axis. No axis is cut away whole."""
        while True:
            kept = {name: tuple(self.stays(ids) for ids in axes) for name, axes in self._ids.items()}
            bare = [(n, a) for n, axes in kept.items() for a, m in enumerate(axes) if m.size and not m.any()]
            if not bare:
                return {name: axes for name, axes in kept.items() if not all(m.all() for m in axes)}
            for name, axis in bare:
                self.stay(self.ids(name)[axis][:1])

    def _root(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i


def _whole(c: Coupling, op: Op) -> None:
    for name in filter(None, (*op.inputs, *op.outputs)):
        c.keep(name)


def _pairwise(c: Coupling, a: Sequence[Ids], b: Sequence[Ids]) -> None:
    for mine, theirs in zip(a, b, strict=True):
        c.join(mine, theirs)


def _elementwise(c: Coupling, op: Op) -> None:
    """Axes aligned from the right; one of size 1 goes with anything and stays."""
    out = c.ids(op.outputs[0])
    shape = c.net.values[op.outputs[0]].shape
    for name in op.inputs:
        own = c.net.values[name].shape
        offset = len(shape) - len(own)
        for a, d in enumerate(own):
            if d == shape[a + offset]:
                c.join(out[a + offset], c.ids(name)[a])
            else:
                c.stay(c.ids(name)[a])


def _layer(c: Coupling, op: Op) -> None:
    x, w, out = c.ids(op.inputs[0]), c.ids(op.inputs[1]), c.ids(op.outputs[0])
    axis = layer_axis(op, len(x))
    for ids in w[2:]:
        c.stay(ids)
    for a in range(len(x)):
        if a != axis and op.kind == "conv2d":
            c.stay(x[a])
            c.stay(out[a])
        elif a != axis:
            c.join(x[a], out[a])
    for name in op.inputs[2:]:
        c.join(out[axis], c.ids(name)[0])
    groups, columns = int(str(op.attrs.get("groups", 1))), len(w[1])
    c.join(out[axis], w[0])
    if groups == 1:
        c.join(x[axis], w[1])
        c.stay(x[axis][reading(c.net, c.known, op).needed])
    elif columns == 1 and len(w[0]) == groups:  # depthwise: a channel is made of itself alone
        c.stay(w[1])
        c.join(x[axis], out[axis])
    else:
        for ids in (*w, x[axis]):
            c.stay(ids)


def _norm(c: Coupling, op: Op) -> None:
    x, y = c.ids(op.inputs[0]), c.ids(op.outputs[0]) if op.outputs[0] else None
    for ids in x[2:]:
        c.stay(ids)
    if y is not None:
        _pairwise(c, x, y)
    for name in filter(None, (*op.inputs[1:], *op.outputs[1:])):
        c.join(x[1], c.ids(name)[0])


def _pool(c: Coupling, op: Op) -> None:
    x, y = c.ids(op.inputs[0]), c.ids(op.outputs[0])
    c.join(x[1], y[1])
    for ids in (*x[2:], *y[2:]):
        c.stay(ids)


def _reduce(c: Coupling, op: Op) -> None:
    x, axes = c.ids(op.inputs[0]), ints(op.attrs, "axes")
    y = c.ids(op.outputs[0])
    for a in axes:
        c.stay(x[a])
        if op.attrs["keepdims"]:
            c.stay(y[a])
    rest = [a for a in range(len(x)) if a not in axes]
    places = rest if op.attrs["keepdims"] else range(len(rest))
    _pairwise(c, [x[a] for a in rest], [y[a] for a in places])


def _permute(c: Coupling, op: Op) -> None:
    x = c.ids(op.inputs[0])
    _pairwise(c, [x[a] for a in ints(op.attrs, "order")], c.ids(op.outputs[0]))


def _concat(c: Coupling, op: Op) -> None:
    axis, y = int(str(op.attrs["axis"])), c.ids(op.outputs[0])
    parts = [c.ids(name) for name in op.inputs]
    c.join(np.concatenate([x[axis] for x in parts]), y[axis])
    for x in parts:
        _pairwise(c, [*x[:axis], *x[axis + 1 :]], [*y[:axis], *y[axis + 1 :]])


def _reshape(c: Coupling, op: Op) -> None:
    """An axis may stay; or be merged with others that stay, and a channel is then a run of indices."""
    x, y = c.ids(op.inputs[0]), c.ids(op.outputs[0])
    matched: set[int] = set()
    for source, target in blocks(*(c.net.values[n].shape for n in (op.inputs[0], op.outputs[0]))):
        matched.update(target)
        if len(source) == len(target) == 1:
            c.join(x[source[0]], y[target[0]])
        elif len(target) == 1 and all(len(x[a]) for a in source):
            _merge(c, [x[a] for a in source], y[target[0]])
        else:
            for ids in (*(x[a] for a in source), *(y[a] for a in target)):
                c.stay(ids)
    for ids in (*(i for i in x if len(i) == 1), *(y[a] for a in range(len(y)) if a not in matched)):
        c.stay(ids)


def _merge(c: Coupling, axes: Sequence[Ids], merged: Ids) -> None:
    free = [i for i, ids in enumerate(axes) if not c.stays(ids).all()]
    channel = free[0] if free else 0
    for i, ids in enumerate(axes):
        if i != channel:
            c.stay(ids)
    column = axes[channel].reshape([-1 if i == channel else 1 for i in range(len(axes))])
    c.join(np.broadcast_to(column, [len(ids) for ids in axes]).ravel(), merged)


RULES: dict[str, Callable[[Coupling, Op], None]] = {
    **dict.fromkeys(UNARY | BINARY, _elementwise),
    "conv2d": _layer,
    "linear": _layer,
    "batch_norm": _norm,
    "batch_norm_frozen": _norm,
    "max_pool2d": _pool,
    "avg_pool2d": _pool,
    "reduce_mean": _reduce,
    "reduce_sum": _reduce,
    "permute": _permute,
    "concat": _concat,
    "reshape": _reshape,
    "full": lambda c, op: None,
}
