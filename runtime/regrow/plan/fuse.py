"""Join ops that the core runs as one: what follows a convolution, and the update of a parameter.

`block` is norm, activation and 2x2 max-pooling of a channel at a time: only its input is kept for
`block_back`, which makes the rest again. `update` is `select(mask, p - rate * g, p)`. Both are ops of
plans, not of programs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from regrow.ops.schema import ints, number
from regrow.plan.chain import chained
from regrow.plan.style import Style
from regrow.program import Attr, Op, Program, Value

NORMS = {"batch_norm": "batch", "batch_norm_frozen": "given"}
_ACTS = ("relu", "leaky_relu")


@dataclass(eq=False)
class _Graph:
    """Who reads and who makes each value of a program."""

    ops: Sequence[Op]
    outputs: frozenset[str]
    readers: dict[str, list[Op]] = field(default_factory=dict)
    maker: dict[str, Op] = field(default_factory=dict)

    @classmethod
    def of(cls, program: Program) -> _Graph:
        graph = cls(program.ops, frozenset(program.outputs))
        for op in program.ops:
            for name in dict.fromkeys(op.inputs):
                graph.readers.setdefault(name, []).append(op)
            graph.maker.update({name: op for name in op.outputs if name})
        return graph

    def only(self, name: str, allowed: Iterable[Op | None]) -> bool:
        """Whether nothing else reads a value."""
        return name not in self.outputs and not set(map(id, self.readers.get(name, []))) - set(
            map(id, allowed)
        )


def fused(program: Program, style: Style, batch: int, packs: Collection[str] = ()) -> list[Op]:
    """The program's ops in an order that is theirs, with chains replaced by what the core has for them.

    `packs`: the weights that are packed, which `chained` asks for.
    """
    graph = _Graph.of(program)
    gone: set[int] = set()
    at: dict[int, Op] = {}
    for op in program.ops:
        if id(op) not in gone and (op.kind in NORMS or _is_rising(op) or _is_halving(op)):
            _block(graph, op, gone, at)
    for op in program.ops:
        if id(op) not in gone and op.kind in ("sub", "select"):
            _update(graph, op, gone, at, program.values)
    whole = [at.get(id(op), op) for op in program.ops if id(op) not in gone]
    return chained(whole, program, style, batch, packs)


def _is_halving(op: Op) -> bool:
    if op.kind != "max_pool2d":
        return False
    return ints(op.attrs, "kernel") == ints(op.attrs, "stride") == (2, 2) and not any(
        ints(op.attrs, "padding")
    )


def _is_rising(op: Op) -> bool:
    """An activation that keeps the order of values, so that pooling may look at what came before it."""
    return op.kind in _ACTS and _slope(op) >= 0


def _slope(op: Op | None) -> float:
    if op is None:
        return 1.0
    return 0.0 if op.kind.startswith("relu") else number(op.attrs, "slope")


@dataclass(eq=False)
class _Chain:
    """A norm, an activation, a pooling, each or not, and the gradient ops that belong to them."""

    norm: Op | None = None
    act: Op | None = None
    pool: Op | None = None
    backs: list[Op] = field(default_factory=list)

    @property
    def ops(self) -> list[Op]:
        return [op for op in (self.norm, self.act, self.pool) if op is not None]


def _block(graph: _Graph, first: Op, gone: set[int], at: dict[int, Op]) -> None:
    candidates = _chains(graph, first)
    for chain in candidates:
        if _closed(graph, chain):
            _replace(graph, chain, gone, at)
            return


def _chains(graph: _Graph, first: Op) -> list[_Chain]:
    """Longest first."""
    norm = first if first.kind in NORMS else None
    act = first if first.kind in _ACTS else _next(graph, first, _is_rising) if norm else None
    pool = first if _is_halving(first) else _next(graph, act or first, _is_halving)
    made = []
    if pool is not None:
        made.append(_Chain(norm, act, pool))
    if norm is not None:
        made += [_Chain(norm, act, None), _Chain(norm, None, None)]
    return made


def _next(graph: _Graph, op: Op, wanted: Callable[[Op], bool]) -> Op | None:
    return next((r for r in graph.readers.get(op.outputs[0], []) if wanted(r)), None)


def _closed(graph: _Graph, chain: _Chain) -> bool:
    """Whether nothing outside reads what the chain no longer makes; finds the gradient ops on the way."""
    ops = chain.ops
    backs: dict[int, Op] = {}
    for op in ops:
        x, y = op.inputs[0], op.outputs[0]
        for reader in [*graph.readers.get(x, []), *graph.readers.get(y, [])]:
            if _is_back_of(reader, op):
                backs[id(reader)] = reader
    chain.backs = [op for op in graph.ops if id(op) in backs]
    inner = [op.outputs[0] for op in ops[:-1]]
    if not all(graph.only(name, [*ops, *chain.backs]) for name in inner):
        return False
    if not chain.backs:
        return True
    # Gradients must run through all of the chain, one into the next, and be read by nothing else between.
    if len(chain.backs) != len(ops):
        return False
    for earlier, later in zip(chain.backs, chain.backs[1:], strict=False):
        if later.inputs[0] != earlier.outputs[0] or not graph.only(earlier.outputs[0], [later]):
            return False
    return True


def _is_back_of(back: Op, op: Op) -> bool:
    if back.kind != f"{op.kind}_back":
        return False
    if op.kind in NORMS:
        given = op.outputs[1:] if op.kind == "batch_norm" else op.inputs[3:]
        return back.inputs[1:] == (op.inputs[0], op.inputs[1], *given)
    if op.kind == "max_pool2d":
        return back.inputs[1:] == (op.inputs[0], op.outputs[0])
    return back.inputs[1] == (op.outputs[0] if op.kind == "relu" else op.inputs[0])


def _replace(graph: _Graph, chain: _Chain, gone: set[int], at: dict[int, Op]) -> None:
    ops, norm = chain.ops, chain.norm
    attrs: dict[str, Attr] = {
        "norm": NORMS[norm.kind] if norm else "none",
        "slope": _slope(chain.act),
        "pooled": chain.pool is not None,
        "eps": number(norm.attrs, "eps") if norm else 0.0,
    }
    rest = ops[0].inputs[1:] if norm else ()
    statistics = norm.outputs[1:] if norm and norm.kind == "batch_norm" else ("", "")
    gone |= {id(op) for op in (*ops, *chain.backs)}
    gone.discard(id(ops[0]))
    at[id(ops[0])] = Op(
        "block", (ops[0].inputs[0], *rest), (ops[-1].outputs[0], *statistics), attrs, ops[0].source
    )
    if not chain.backs:
        return
    last = chain.backs[-1]
    gone.discard(id(last))
    inputs: tuple[str, ...] = (chain.backs[0].inputs[0], ops[0].inputs[0])
    made = (last.outputs[0], *(last.outputs[1:] if norm else ("", "")))
    total = _bias_gradient(graph, last.outputs[0], gone)
    if norm is not None:
        inputs += (norm.inputs[1], norm.inputs[2], *last.inputs[3:])
    if chain.pool is not None:  # a quarter of z, and as good for the sums
        inputs += (ops[-1].outputs[0],)
    at[id(last)] = Op("block_back", inputs, (*made, total), attrs, last.source)


def _bias_gradient(graph: _Graph, dz: str, gone: set[int]) -> str:
    """The sum of dz per channel, where the program wants it: made on the way."""
    for op in graph.readers.get(dz, []) if dz else []:
        if op.kind == "reduce_sum" and ints(op.attrs, "axes") == (0, 2, 3) and not op.attrs["keepdims"]:
            gone.add(id(op))
            return op.outputs[0]
    return ""


def _update(graph: _Graph, op: Op, gone: set[int], at: dict[int, Op], values: Mapping[str, Value]) -> None:
    """`sub(p, mul(rate, g))`, and a `select` that keeps p elsewhere."""
    mask, sub = "", op
    if op.kind == "select":
        made = graph.maker.get(op.inputs[1])
        if made is None or made.kind != "sub" or made.inputs[0] != op.inputs[2] or id(made) in gone:
            return
        # One truth value for a whole tensor, as a rule that gates layers has it, is no mask.
        if not graph.only(made.outputs[0], [op]) or values[op.inputs[0]].shape != values[op.inputs[2]].shape:
            return
        mask, sub = op.inputs[0], made
    elif any(r.kind == "select" for r in graph.readers.get(op.outputs[0], [])):
        return
    product = graph.maker.get(sub.inputs[1])
    if (
        product is None
        or product.kind != "mul"
        or not graph.only(product.outputs[0], [sub])
        or id(product) in gone
    ):
        return
    rate, gradient = product.inputs if values[product.inputs[0]].shape == () else product.inputs[::-1]
    if values[rate].shape != () or values[gradient].shape != values[sub.inputs[0]].shape:
        return
    gone |= {id(product), id(sub)}
    gone.discard(id(op))
    masks = (mask,) if mask else ()
    at[id(op)] = Op("update", (sub.inputs[0], gradient, rate, *masks), op.outputs, {}, op.source)
