"""Read a program from JSON and check its structure, so that whoever runs it need not.

Checked: names, shapes, dtypes, roles, attribute types, that every name is defined before it is used and
only once. Not checked: whether an op kind exists or its shapes fit; the op schemas know that.
"""

from collections.abc import Iterable
from typing import Any, cast

from regrow.fields import (
    MAX_RANK,
    Fields,
    Words,
    check_integer,
    check_list,
    check_string,
    check_text,
    fail,
    loads,
)
from regrow.program import DTYPES, ROLES, Attr, Op, Program, Role, Value

MAX_DIM = 2**31
MAX_ATTR = 2**63 - 1


def load_program(data: bytes, place: str) -> Program:
    """A program from the bytes of its JSON."""
    return parse_program(loads(data, place), place)


def parse_program(data: object, place: str) -> Program:
    """A program from JSON data, the inverse of `Program.to_json`."""
    top = Fields(data, place)
    table = top.object("values")
    values = {check_text(n, table.place): _value(v, table.at(n)) for n, v in table.values.items()}
    program = Program(
        inputs=top.texts("inputs"),
        outputs=top.texts("outputs"),
        ops=tuple(_op(item, at) for item, at in top.items("ops")),
        values=values,
    )
    _check_names(program, top)
    return program


def _value(item: object, place: str) -> Value:
    parts = _tuple(item, 3, "[shape, dtype, role]", place)
    dims = check_list(parts[0], place)
    if len(dims) > MAX_RANK:
        raise fail(place, Words(f"{len(dims)} dimensions"), f"at most {MAX_RANK}")
    shape = tuple(check_integer(d, f"{place}[0][{i}]", -MAX_DIM, MAX_DIM) for i, d in enumerate(dims))
    if parts[1] not in DTYPES:
        raise fail(f"{place}[1]", parts[1], f"one of {', '.join(DTYPES)}")
    if parts[2] not in ROLES:
        raise fail(f"{place}[2]", parts[2], f"one of {', '.join(ROLES)}")
    return Value(shape, parts[1], cast(Role, parts[2]))


def _op(item: object, place: str) -> Op:
    kind, inputs, outputs, attrs, source = _tuple(item, 5, "[kind, inputs, outputs, attrs, source]", place)
    op = Op(
        kind=check_text(kind, f"{place}[0]"),
        inputs=_names(inputs, f"{place}[1]"),
        outputs=tuple(check_string(name, f"{place}[2]") for name in check_list(outputs, f"{place}[2]")),
        attrs={k: _attr(v, f"{place}[3].{k}") for k, v in Fields(attrs, f"{place}[3]").values.items()},
        source=check_string(source, f"{place}[4]"),
    )
    if not any(op.outputs):  # "" stands for an output nobody reads
        raise fail(f"{place}[2]", Words("no output"), "at least one")
    return op


def _tuple(item: object, length: int, expected: str, place: str) -> list[Any]:
    parts = check_list(item, place)
    if len(parts) != length:
        raise fail(place, item, expected)
    return parts


def _names(item: object, place: str) -> tuple[str, ...]:
    return tuple(check_text(name, place) for name in check_list(item, place))


def _attr(value: Any, place: str) -> Attr:
    if isinstance(value, str):
        return check_string(value, place)
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return check_integer(value, place, -MAX_ATTR, MAX_ATTR)
    if not isinstance(value, list):
        raise fail(place, value, "a number, a string, a bool, or a list of integers or of floats")
    if value and all(type(v) is float for v in value):
        return tuple(value)
    return tuple(check_integer(v, f"{place}[{i}]", -MAX_ATTR, MAX_ATTR) for i, v in enumerate(value))


def _check_names(program: Program, top: Fields) -> None:
    defined: set[str] = set()
    _define(program.inputs, defined, program, top.at("inputs"))
    for i, op in enumerate(program.ops):
        place = f"{top.at('ops')}[{i}] ({op.kind[:40]!r})"
        for name in op.inputs:
            if name not in defined:
                raise fail(place, name, "an input that is defined earlier")
        _define(filter(None, op.outputs), defined, program, place)
    for name in program.outputs:
        if name not in defined:
            raise fail(top.at("outputs"), name, "a defined name")


def _define(names: Iterable[str], defined: set[str], program: Program, place: str) -> None:
    for name in names:
        if name in defined or name not in program.values:
            raise fail(place, name, "a name that is in `values` and defined once")
        defined.add(name)
