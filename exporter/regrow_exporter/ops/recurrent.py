"""LSTM, GRU and plain recurrent layers over a fixed length, unrolled into the ops they are made of."""

from collections.abc import Callable, Sequence
from typing import Any

from regrow.errors import UnsupportedError
from regrow_exporter.differentiate import Vjp
from regrow_exporter.graph import Graph
from regrow_exporter.importer import Arguments, Context, Importer
from regrow_exporter.ops.linear import affine
from regrow_exporter.ops.pieces import dropped, inserted, parts

# (graph, input part of the gates, states, recurrent weight and bias) -> new states; the first is the output.
Cell = Callable[[Graph, str, Sequence[str], str, str | None], list[str]]
# The rows of a weight as a cell wants them.
Order = Callable[[Graph, str], str]


def lstm_cell(g: Graph, x: str, state: Sequence[str], weight: str, bias: str | None) -> list[str]:
    """Gates come in the order of `lstm_order`, so that one sigmoid serves three of them."""
    h, c = state
    width = g.shape(c)[1]
    three, new = parts(g, g.one("add", x, affine(g, h, weight, bias)), 1, [3 * width, width])
    i, f, o = parts(g, g.one("sigmoid", three), 1, [width] * 3)
    c = g.one("add", g.one("mul", f, c), g.one("mul", i, g.one("tanh", new)))
    return [g.one("mul", o, g.one("tanh", c)), c]


def lstm_order(g: Graph, weight: str) -> str:
    """torch stacks input, forget, new, output; here the new value comes last."""
    i_f, new, out = parts(g, weight, 0, [g.shape(weight)[0] // 4 * n for n in (2, 1, 1)])
    return g.one("concat", i_f, out, new, axis=0)


def gru_cell(g: Graph, x: str, state: Sequence[str], weight: str, bias: str | None) -> list[str]:
    (h,) = state
    reset, update, new = _gates(g, x, 3, range(3))
    recurrent = _gates(g, affine(g, h, weight, bias), 3, range(3))
    reset, update = (
        g.one("sigmoid", g.one("add", part, again))
        for part, again in zip((reset, update), recurrent, strict=False)
    )
    candidate = g.one("tanh", g.one("add", new, g.one("mul", reset, recurrent[2])))
    # (1 - z) * candidate + z * h
    return [g.one("add", candidate, g.one("mul", update, g.one("sub", h, candidate)))]


def _plain_cell(kind: str) -> Cell:
    def cell(g: Graph, x: str, state: Sequence[str], weight: str, bias: str | None) -> list[str]:
        return [g.one(kind, g.one("add", x, affine(g, state[0], weight, bias)))]

    return cell


def _gates(g: Graph, stacked: str, count: int, order: Sequence[int]) -> list[str]:
    width = g.shape(stacked)[1] // count
    split = parts(g, stacked, 1, [width] * count)
    return [split[i] for i in order]


def _as_is(g: Graph, weight: str) -> str:
    return weight


def _unrolled(cell: Cell, states: int, order: Order = _as_is) -> Importer:
    """An importer of a whole layer stack; torch gives the outputs, then the last states."""

    def run(context: Context, a: Arguments) -> tuple[str, ...]:
        _check(context.graph, a)
        g, given = context.graph, a["hx"] if isinstance(a["hx"], list) else [a["hx"]]
        sides = 2 if a["bidirectional"] else 1
        layers = a["num_layers"] * sides
        first = [parts(g, state, 0, [1] * layers) for state in given]
        per = 4 if a["has_biases"] else 2
        time, last = 1 if a["batch_first"] else 0, []
        sequence: str = a["input"]
        for layer in range(a["num_layers"]):
            directions = []
            for side in range(sides):
                at = layer * sides + side
                weights = [order(g, weight) for weight in a["params"][at * per : (at + 1) * per]]
                begin = [dropped(g, state[at], 0) for state in first]
                outputs, end = _direction(g, cell, sequence, begin, weights, time, side == 1)
                directions.append(outputs)
                last.append(end)
            sequence = _joined(g, directions, 2)
        ends = [_joined(g, [inserted(g, end[i], 0) for end in last], 0) for i in range(states)]
        return (sequence, *ends)

    return run


def _direction(
    g: Graph, cell: Cell, sequence: str, state: list[str], weights: Sequence[Any], time: int, backward: bool
) -> tuple[str, list[str]]:
    """One layer in one direction: (outputs over time, last states)."""
    w_in, w_again, b_in, b_again = (*weights, None, None)[:4]
    # One product for all steps; only the recurrent part has to wait.
    projected = affine(g, sequence, w_in, b_in)
    length = g.shape(sequence)[time]
    steps = [dropped(g, part, time) for part in parts(g, projected, time, [1] * length)]
    outputs = []
    for x in reversed(steps) if backward else steps:
        state = cell(g, x, state, w_again, b_again)
        outputs.append(inserted(g, state[0], time))
    return _joined(g, outputs[::-1] if backward else outputs, time), state


def _joined(g: Graph, values: Sequence[str], axis: int) -> str:
    return values[0] if len(values) == 1 else g.one("concat", *values, axis=axis)


def _check(g: Graph, a: Arguments) -> None:
    if a["dropout"] and a["train"] and a["num_layers"] > 1:
        raise UnsupportedError("dropout between layers; set it to 0")
    if len(a["params"]) != (4 if a["has_biases"] else 2) * a["num_layers"] * (1 + a["bidirectional"]):
        raise UnsupportedError("projected states (proj_size)")
    if len(g.shape(a["input"])) != 3:
        raise UnsupportedError("a sequence without a batch")
    length = g.shape(a["input"])[1 if a["batch_first"] else 0]
    if length < 1:
        raise UnsupportedError("a sequence over the samples; is batch_first missing?")


_CELLS: dict[str, tuple[Cell, int] | tuple[Cell, int, Order]] = {
    "lstm": (lstm_cell, 2, lstm_order),
    "gru": (gru_cell, 1),
    "rnn_tanh": (_plain_cell("tanh"), 1),
    "rnn_relu": (_plain_cell("relu"), 1),
}


def _import_lstm_cell(context: Context, a: Arguments) -> tuple[str, ...]:
    g = context.graph
    weights = [lstm_order(g, w) if w else None for w in (a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"])]
    x = affine(g, a["input"], str(weights[0]), weights[2])
    return tuple(lstm_cell(g, x, a["hx"], str(weights[1]), weights[3]))


def _import_gru_cell(context: Context, a: Arguments) -> str:
    g = context.graph
    x = affine(g, a["input"], a["w_ih"], a["b_ih"])
    return gru_cell(g, x, [a["hx"]], a["w_hh"], a["b_hh"])[0]


IMPORT: dict[str, Importer] = {
    **{f"aten.{name}.input": _unrolled(*row) for name, row in _CELLS.items()},
    "aten.lstm_cell.default": _import_lstm_cell,
    "aten.gru_cell.default": _import_gru_cell,
}
VJP: dict[str, Vjp] = {}
ONNX: dict[str, Any] = {}
