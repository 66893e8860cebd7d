"""The program while it is being built: declare inputs, append ops, cut sub-programs out of it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from regrow.ops import OPS
from regrow.program import Attr, Op, Program, Value


@dataclass
class Graph:
    """A growing list of ops; shapes are inferred as they come, so a wrong graph fails where it is wrong."""

    values: dict[str, Value] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    source: str = ""  # what the next ops are blamed on

    def declare(self, name: str, value: Value) -> str:
        """Add an input."""
        if name in self.values:
            raise ValueError(f"graph: {name} is declared twice")
        self.values[name] = value
        return name

    def apply(self, kind: str, inputs: Sequence[str], count: int = 1, **attrs: Attr) -> tuple[str, ...]:
        """Append one op and name its `count` outputs."""
        shapes = OPS[kind].shape([self.values[name] for name in inputs], attrs)
        stem = f"{kind}.{len(self.ops)}"
        names = tuple(stem if i == 0 else f"{stem}.{i}" for i in range(count))
        self.values.update(zip(names, shapes, strict=True))
        self.ops.append(Op(kind, tuple(inputs), names, attrs, self.source))
        return names

    def one(self, kind: str, *inputs: str, **attrs: Attr) -> str:
        """Append an op with a single output."""
        return self.apply(kind, inputs, 1, **attrs)[0]

    def constant(self, value: float) -> str:
        """A scalar."""
        return self.one("constant", value=float(value))

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape


def dependents(ops: Iterable[Op], roots: Collection[str]) -> set[str]:
    """Every value that depends on one of `roots`, the roots included."""
    reached = set(roots)
    for op in ops:
        if reached.intersection(op.inputs):
            reached.update(filter(None, op.outputs))
    return reached


def needed(ops: Sequence[Op], wanted: Iterable[str]) -> list[Op]:
    """The ops that `wanted` depends on, in order, with unread outputs dropped to ""."""
    alive = set(wanted)
    kept: list[Op] = []
    for op in reversed(ops):
        if alive.intersection(op.outputs):
            kept.append(replace(op, outputs=tuple(name if name in alive else "" for name in op.outputs)))
            alive.update(op.inputs)
    return kept[::-1]


def cut(graph: Graph, ops: Sequence[Op], outputs: Mapping[str, str]) -> Program:
    """The program of `ops` that yields `outputs` (public name -> value), public names applied."""
    ops = needed(ops, outputs.values())
    made = {name for op in ops for name in op.outputs if name}
    names, copies = _public_names(outputs, made)
    rename: Callable[[str], str] = lambda name: names.get(name, name)  # noqa: E731
    final = [_renamed(op, rename) for op in ops]
    final += [Op("identity", (rename(source),), (public,), {}) for public, source in copies]
    known = {o for op in final for o in op.outputs if o}
    inputs = tuple(dict.fromkeys(n for op in final for n in op.inputs if n not in known))
    values = {rename(n): graph.values[n] for op in ops for n in (*op.inputs, *op.outputs) if n}
    values |= {public: graph.values[source] for public, source in outputs.items()}
    values |= {n: graph.values[n] for n in inputs}
    return Program(inputs, tuple(outputs), tuple(final), values)


def _public_names(outputs: Mapping[str, str], made: set[str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Which values simply take the public name, and which need a copy (inputs, or wanted twice)."""
    names: dict[str, str] = {}
    copies = []
    for public, source in outputs.items():
        if source in names or source not in made:
            copies.append((public, source))
        else:
            names[source] = public
    return names, copies


def _renamed(op: Op, rename: Callable[[str], str]) -> Op:
    return replace(
        op,
        inputs=tuple(rename(n) for n in op.inputs),
        outputs=tuple(rename(n) if n else "" for n in op.outputs),
    )


def numbered(programs: Mapping[str, Program]) -> dict[str, Program]:
    """The same programs, inner values named by number: shorter, and as readable beside their ops.

    A value of several programs has the same number in all of them.
    """
    public = {name for p in programs.values() for name in (*p.inputs, *p.outputs)}
    inner = dict.fromkeys(n for p in programs.values() for op in p.ops for n in op.outputs if n not in public)
    inner.pop("", None)
    unused = (str(i) for i in count() if str(i) not in public)
    names = dict(zip(inner, unused, strict=False))
    return {key: _with_names(program, names) for key, program in programs.items()}


def _with_names(program: Program, names: Mapping[str, str]) -> Program:
    rename: Callable[[str], str] = lambda name: names.get(name, name)  # noqa: E731
    return replace(
        program,
        ops=tuple(_renamed(op, rename) for op in program.ops),
        values={rename(name): value for name, value in program.values.items()},
    )
