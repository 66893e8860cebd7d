"""Programs read back as they were, and only if every name, shape, dtype and role holds together."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from regrow.errors import BundleError
from regrow.program import Op, Program, Value
from regrow.program_json import load_program, parse_program

GOOD = Program(
    inputs=("x", "w", "b"),
    outputs=("y", "x"),
    ops=(
        Op(
            "conv",
            ("x", "w"),
            ("h",),
            {"pad": (1, 1), "eps": 1e-5, "groups": 1, "mode": "", "f": True},
            "m.py:3",
        ),
        Op("add", ("h", "b"), ("y", "unused"), {"scales": (0.5, 2.0), "none": ()}),
        Op("fill", (), ("z",), {"value": -1}),
    ),
    values={
        "x": Value((-1, 1, 28, 28), role="input"),
        "w": Value((64, 1, 3, 3), role="adaptable"),
        "b": Value((), role="frozen"),
        "h": Value((-1, 64, 28, 28)),
        "y": Value((-49, 64), "uint8"),
        "unused": Value((0,), "bool"),
        "z": Value((1,), "int64", "state"),
    },
)


def test_round_trip() -> None:
    data = json.dumps(GOOD.to_json()).encode()
    assert load_program(data, "p") == GOOD
    kinds = [type(load_program(data, "p").ops[0].attrs[k]) for k in ("f", "groups", "eps")]
    assert kinds == [bool, int, float]


Edit = Callable[[dict[str, Any]], object]
BAD: list[tuple[Edit, str, str]] = [
    (lambda p: p.pop("ops"), "p.ops", "found nothing"),
    (lambda p: p.update(ops={}), "p.ops", "a list"),
    (lambda p: p.update(values=[]), "p.values", "an object"),
    (lambda p: p["inputs"].append(3), "p.inputs[3]", "a string"),
    (lambda p: p["inputs"].append("x"), "p.inputs", "defined once"),
    (lambda p: p["inputs"].append("ghost"), "p.inputs", "in `values`"),
    (lambda p: p["outputs"].append("ghost"), "p.outputs", "a defined name"),
    (lambda p: p["ops"][0].pop(), "p.ops[0]", "[kind, inputs, outputs, attrs, source]"),
    (lambda p: p["ops"][0].__setitem__(0, ""), "p.ops[0][0]", "non-empty"),
    (lambda p: p["ops"][0].__setitem__(1, ["y"]), "p.ops[0] ('conv')", "defined earlier"),
    (lambda p: p["ops"][0].__setitem__(1, "xw"), "p.ops[0][1]", "a list"),
    (lambda p: p["ops"][0].__setitem__(2, []), "p.ops[0][2]", "at least one"),
    (lambda p: p["ops"][0].__setitem__(2, ["x"]), "p.ops[0] ('conv')", "defined once"),
    (lambda p: p["ops"][0].__setitem__(2, ["new"]), "p.ops[0] ('conv')", "in `values`"),
    (lambda p: p["ops"][0].__setitem__(3, []), "p.ops[0][3]", "an object"),
    (lambda p: p["ops"][0].__setitem__(4, None), "p.ops[0][4]", "a string"),
    (lambda p: p["ops"][0][3].update(a=None), "p.ops[0][3].a", "a number"),
    (lambda p: p["ops"][0][3].update(a={}), "p.ops[0][3].a", "a number"),
    (lambda p: p["ops"][0][3].update(a=[1, 2.5]), "p.ops[0][3].a[1]", "an integer"),
    (lambda p: p["ops"][0][3].update(a=[True]), "p.ops[0][3].a[0]", "an integer"),
    (lambda p: p["ops"][0][3].update(a=[["x"]]), "p.ops[0][3].a[0]", "an integer"),
    (lambda p: p["ops"][0][3].update(a=2**64), "p.ops[0][3].a", "an integer"),
    (lambda p: p["ops"][0][3].update(a="\ud800"), "p.ops[0][3].a", "a string"),
    (lambda p: p["values"].update(x=[[1], "float32"]), "p.values.x", "[shape, dtype, role]"),
    (lambda p: p["values"]["x"].__setitem__(0, [1.0]), "p.values.x[0][0]", "an integer"),
    (lambda p: p["values"]["x"].__setitem__(0, [True]), "p.values.x[0][0]", "an integer"),
    (lambda p: p["values"]["x"].__setitem__(0, [2**40]), "p.values.x[0][0]", "from -2147483648"),
    (lambda p: p["values"]["x"].__setitem__(0, [1] * 9), "p.values.x", "at most 8"),
    (lambda p: p["values"]["x"].__setitem__(0, 3), "p.values.x", "a list"),
    (lambda p: p["values"]["x"].__setitem__(1, "float64"), "p.values.x[1]", "one of float32"),
    (lambda p: p["values"]["x"].__setitem__(1, ["float32"]), "p.values.x[1]", "one of float32"),
    (lambda p: p["values"]["x"].__setitem__(2, "boss"), "p.values.x[2]", "one of input"),
]


@pytest.mark.parametrize(("edit", "place", "word"), BAD)
def test_wrong_structure_names_its_place(edit: Edit, place: str, word: str) -> None:
    data = copy.deepcopy(json.loads(json.dumps(GOOD.to_json())))
    edit(data)
    with pytest.raises(BundleError) as caught:
        parse_program(data, "p")
    assert str(caught.value).startswith(f"{place}: found ")
    assert word in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{}", b"null", b'{"inputs":NaN}'])
def test_what_is_no_program_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="expected"):
        load_program(data, "p")
