"""The manifest: JSON and back without loss; every wrong key is named by its path."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow import manifest
from regrow.errors import BundleError
from regrow.manifest import Manifest, Parameter
from regrow.moves import Positions, RowSet, moves

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def good(tiny: Callable[[], tuple[Manifest, Any]]) -> Manifest:
    return tiny()[0]


def test_round_trip(good: Manifest) -> None:
    data = json.loads(json.dumps(good.to_json()))
    assert manifest.parse(data, "m") == good
    assert manifest.parse(data, "m").to_json() == data


def test_unknown_keys_are_ignored(good: Manifest) -> None:
    data = good.to_json()
    data["later"] = data["parameters"][0]["later"] = {"x": [1]}
    assert manifest.parse(data, "m") == good


def test_a_rule_of_version_1_steps_along_a_gradient(good: Manifest) -> None:
    data = good.to_json()
    data["format_version"], data["parameters"] = 1, [p for p in data["parameters"] if p["values"] != "int8"]
    del data["rule"]["kind"]
    assert manifest.parse(data, "m").rule == replace(good.rule, kind="gradient")


def test_sparsity() -> None:
    assert Parameter("w", (2, 5), "kept", "rice", "fp32", 3, 1).sparsity == pytest.approx(0.7)
    assert Parameter("w", (0, 5), "none", "dense", "fp32", 0, 0).sparsity == 0.0


def test_every_missing_key_is_named(good: Manifest) -> None:
    def walk(node: Any, path: str) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            at = f"{path}.{key}" if isinstance(node, dict) else f"{path}[{key}]"
            child = node[key]
            if isinstance(node, dict):
                del node[key]
                with pytest.raises(BundleError) as caught:
                    manifest.parse(data, "m")
                assert str(caught.value).startswith(f"{at}: found nothing, expected ")
                node[key] = child
            if isinstance(child, dict | list) and key not in free:
                walk(child, at)

    free = ("args", "verification", "provenance", "programs", "graphs", "peak_bytes")
    data = good.to_json()
    walk(data, "m")
    assert manifest.parse(data, "m") == good


def rows(data: dict[str, Any], *ranges: object, of: str = "all") -> None:
    """Give the second parameter, of shape (16, 25), rows that move; a lone number is no list."""
    given = ranges[0] if ranges == (0,) else list(ranges)
    data["parameters"][1]["adaptable"] = {"of": of, "rows": given}


def test_rows_of_a_parameter_come_back(good: Manifest) -> None:
    data = good.to_json()
    rows(data, [0, 2], [5, 16])
    made = manifest.parse(data, "m")
    assert made.parameters[1].adaptable == RowSet("all", ((0, 2), (5, 16)))
    assert made.to_json() == data


@pytest.mark.parametrize("of", ["all", "kept", "pruned"])
def test_rows_narrow_what_moves(of: Positions) -> None:
    kept = np.array([[True, False], [False, True], [True, True]])
    inside = moves(RowSet(of, ((0, 1), (2, 3))), (3, 2), kept)
    want = {"all": np.ones((3, 2), np.bool_), "kept": kept, "pruned": ~kept}[of].copy()
    want[1] = False
    np.testing.assert_array_equal(inside, want)


BAD: list[tuple[Edit, str, str]] = [
    (lambda m: m.update(format_version=3), "format_version", "3, expected at most 2; a newer regrow"),
    (lambda m: m.update(format_version=0), "format_version", "an integer >= 1"),
    (lambda m: m.update(format_version="1"), "format_version", "found '1'"),
    (lambda m: m.update(format_version=True), "format_version", "found True"),
    (lambda m: m.update(name=""), "name", "a non-empty string"),
    (lambda m: m.update(name="\ud800"), "name", "found '\\ud800'"),
    (lambda m: m.update(task="poetry"), "task", "one of classification, regression"),
    (lambda m: m.update(task="regression"), "output.kind", "values for regression"),
    (lambda m: m.update(input=[]), "input", "an object"),
    (lambda m: m["input"].update(shape=[0, 3]), "input.shape[0]", "an integer >= 1"),
    (lambda m: m["input"].update(shape="28"), "input.shape", "a list"),
    (lambda m: m["input"].update(shape=[1] * 9), "input.shape", "at most 8 dimensions"),
    (lambda m: m["input"].update(shape=[2**30, 2**30]), "input.shape", "elements"),
    (lambda m: m["input"].update(std=0), "input.std", "a number > 0"),
    (lambda m: m["input"].update(std=False), "input.std", "a finite number"),
    (lambda m: m["input"].update(mean=float("nan")), "input.mean", "a finite number"),
    (lambda m: m["input"].update(mean="0"), "input.mean", "a finite number"),
    (lambda m: m["input"].update(invert=1), "input.invert", "true or false"),
    (lambda m: m["input"].update(kind=["image"]), "input.kind", "one of image, vector"),
    (lambda m: m["output"].update(labels=["a", "a"]), "output.labels", "each name once"),
    (lambda m: m["output"].update(labels=list("abcdef")), "output.labels", "at most 5"),
    (lambda m: m["output"].update(labels=[1]), "output.labels[0]", "a string"),
    (lambda m: m["parameters"][1].update(shape=[16, -1]), "parameters[1].shape[1]", "an integer >= 0"),
    (lambda m: m["parameters"][1].update(shape=[16, 2**60]), "parameters[1].shape[1]", "an integer"),
    (lambda m: m["parameters"][1].update(shape=[16, 2.0]), "parameters[1].shape[1]", "found 2.0"),
    (lambda m: m["parameters"][1].update(name="dense.weight"), "parameters", "each name once"),
    (lambda m: m["parameters"][1].update(adaptable="some"), "parameters[1].adaptable", "one of none"),
    (lambda m: rows(m, 0), "parameters[1].adaptable.rows", "a list"),
    (lambda m: rows(m), "parameters[1].adaptable.rows", "at least one range"),
    (lambda m: rows(m, [0]), "parameters[1].adaptable.rows[0]", "[start, stop]"),
    (lambda m: rows(m, [0, 17]), "parameters[1].adaptable.rows[0][1]", "from 1 to 16"),
    (lambda m: rows(m, [16, 17]), "parameters[1].adaptable.rows[0][0]", "from 0 to 15"),
    (lambda m: rows(m, [3, 3]), "parameters[1].adaptable.rows[0][1]", "from 4 to 16"),
    (lambda m: rows(m, [0, 2], [2, 4]), "parameters[1].adaptable.rows[1][0]", "from 3 to 15"),
    (lambda m: rows(m, [True, 2]), "parameters[1].adaptable.rows[0][0]", "an integer"),
    (lambda m: rows(m, [0, 2], of="none"), "parameters[1].adaptable.of", "one of all, kept, pruned"),
    (lambda m: (rows(m, [0, 2]), m.update(format_version=1)), "parameters[1].adaptable", "one of none"),
    (lambda m: m["parameters"][1].update(encoding="gzip"), "parameters[1].encoding", "one of dense"),
    (lambda m: m["parameters"][1].update(values="fp8"), "parameters[1].values", "one of fp32"),
    (
        lambda m: m.update(format_version=1),
        "parameters[3].values",
        "found 'int8', expected one of fp32, fp16;",
    ),
    (lambda m: m["parameters"][0].update(shape=[], kept=1, values="int8"), "parameters[0].values", "fp16;"),
    (lambda m: m["parameters"][1].update(kept=-1), "parameters[1].kept", "from 0 to 400"),
    (lambda m: m["parameters"][1].update(kept=401), "parameters[1].kept", "from 0 to 400"),
    (lambda m: m["parameters"][0].update(kept=399), "parameters[0].kept", "from 400 to 400"),
    (lambda m: m["parameters"][1].update(bytes=1.5), "parameters[1].bytes", "an integer"),
    (lambda m: m.update(parameters={}), "parameters", "a list"),
    (lambda m: m["parameters"].append(None), "parameters[5]", "found None, expected an object"),
    (lambda m: m["statistics"][0].update(dtype="complex64"), "statistics[0].dtype", "one of float32"),
    (lambda m: m["state"].append(m["state"][0]), "state", "each name once"),
    (lambda m: m["rule"].update(steps=0), "rule.steps", "an integer >= 1"),
    (lambda m: m["rule"].update(args=[]), "rule.args", "an object"),
    (lambda m: m["rule"].update(path=""), "rule.path", "a non-empty string"),
    (lambda m: m["rule"]["meta"].append(1), "rule.meta[1]", "an object"),
    (lambda m: m["policy"].update(batch_norm="batch"), "policy.batch_norm", "one of none"),
    (lambda m: m["policy"].update(min_ways=6), "policy.min_ways", "from 0 to 5"),
    (lambda m: m["policy"].update(max_ways=6), "policy.max_ways", "at most 5, the outputs"),
    (lambda m: m["policy"].update(max_loss_rise=-0.1), "policy.max_loss_rise", "a number >= 0"),
    (lambda m: m["programs"].update(step=3), "programs.step", "a string"),
    (lambda m: m["graphs"].update({"a\nb": 3}), "graphs.'a\\nb'", "a string"),
    (lambda m: m["peak_bytes"].update({"-1": 3}), "peak_bytes", "support sizes as keys"),
    (lambda m: m["peak_bytes"].update({"5": -3}), "peak_bytes.5", "an integer >= 0"),
    (lambda m: m["selftest"].update(losses=[1, None]), "selftest.losses[1]", "a finite number"),
    (lambda m: m["selftest"].update(seed=2**53 + 1), "selftest.seed", "an integer"),
    (lambda m: m.update(provenance=3), "provenance", "an object"),
    (lambda m: m.update(verification=_deep(40)), "verification", "at most 32 levels"),
]


def _deep(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {}
    for _ in range(levels):
        node = {"a": [node]}
    return node


@pytest.mark.parametrize(("edit", "path", "word"), BAD)
def test_wrong_values_name_their_path(good: Manifest, edit: Edit, path: str, word: str) -> None:
    data = copy.deepcopy(good.to_json())
    edit(data)
    with pytest.raises(BundleError) as caught:
        manifest.parse(data, "a.regrow: manifest")
    message = str(caught.value)
    assert message.startswith(f"a.regrow: manifest.{path}: found ")
    assert word in message
    assert "; " in message


@pytest.mark.parametrize("data", [None, 3, "x", [], [{}]])
def test_what_is_no_object_is_refused(data: object) -> None:
    with pytest.raises(BundleError, match=r"m: found .*, expected an object"):
        manifest.parse(data, "m")


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_value_anywhere_parses_or_is_refused(good: Manifest, data: st.DataObject) -> None:
    root = copy.deepcopy(good.to_json())
    node: Any = root
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
            node = node[key]
            continue
        node[key] = data.draw(plain_json)
        break
    try:
        made = manifest.parse(root, "m")
    except BundleError:
        return
    # What is accepted is a manifest in every respect: it survives being written.
    assert manifest.parse(made.to_json(), "m") == made
