"""Output channels of one's choice adapt, on every engine; nothing else of their parameters does."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import regrow
from regrow import delta, selftest
from regrow.engines import available
from regrow.errors import BundleError, UnsupportedError
from regrow.moves import RowSet
from regrow_exporter import export
from regrow_exporter.rows import selected
from tests.exporter.networks import network

SHAPES = {
    "conv.weight": (8, 2, 3, 3),
    "conv.bias": (8,),
    "l.weight_ih_l0": (6, 2),
    "head.weight": (3, 8),
    "s": (),
}


@pytest.mark.parametrize(
    ("patterns", "rows"),
    [
        (["conv.weight[0:4]"], {"conv.weight": ((0, 4),)}),
        (["conv.weight[3,5,6]"], {"conv.weight": ((3, 4), (5, 7))}),
        (["conv.*[:2, 6:]"], {"conv.weight": ((0, 2), (6, 8)), "conv.bias": ((0, 2), (6, 8))}),
        (["conv.weight[0]", "conv.weight[1]"], {"conv.weight": ((0, 2),)}),
        (["@head[2]"], {"head.weight": ((2, 3),)}),
        # All rows, or a pattern that names all of it, is the whole parameter; brackets may be the glob's own.
        (["head.weight[:]"], {}),
        (["conv.weight[1]", "conv.*"], {}),
        (["l.weight_ih_l[01]"], {}),
    ],
)
def test_rows_stand_at_the_end_of_a_pattern(patterns, rows):
    assert selected(SHAPES, patterns).rows == rows


def test_names_keep_the_order_of_the_network():
    assert selected(SHAPES, ["head.weight[0]", "conv.bias"]).names == ("conv.bias", "head.weight")


@pytest.mark.parametrize("index", ["8", "4:9", "3:3", "5:2", "", "1,,2", "1:2:3", ":9"])
def test_rows_that_are_not_there_are_refused_with_a_remedy(index):
    with pytest.raises(UnsupportedError, match=r"conv\.weight, which has 8; expected some such as \[0:4\]"):
        selected(SHAPES, [f"conv.weight[{index}]"])


def test_what_has_no_rows_or_does_not_exist_is_refused():
    with pytest.raises(UnsupportedError, match="s, which has 0"):
        selected(SHAPES, ["s[0]"])
    with pytest.raises(UnsupportedError, match="nearest names"):
        selected(SHAPES, ["convv.weight[0:2]"])


WEIGHT = "blocks.1.conv.weight"


def exported(tmp_path, patterns, **settings):
    module, shape, _ = network("conv4")
    masks = settings.pop("masks", None)
    if masks:
        weight = dict(module.named_parameters())[WEIGHT]
        masks = {WEIGHT: torch.rand(weight.shape) < 0.3}
        with torch.no_grad():
            weight.mul_(masks[WEIGHT])
    settings = {"lr": 0.1, "steps": 3, "masks": masks or None, **settings}
    path = tmp_path / "m.regrow"
    return export(module, torch.rand(8, *shape), adaptable=patterns, path=path, **settings)


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("update", ["kept", "pruned", "all", None])
def test_only_the_rows_move_on_every_engine_and_in_a_delta(tmp_path, update, rule):
    if rule != "sgd" and update not in ("kept", None):
        pytest.skip("the rule and the positions meet in one `select`; two pairs show it")
    masked = {"masks": True, "update": update} if update else {}
    made = exported(tmp_path, [f"{WEIGHT}[0:2]", "@head[1,3]"], rule=rule, **masked)
    entries = {p.name: p for p in made.manifest.parameters}
    assert entries[WEIGHT].adaptable == RowSet(update or "all", ((0, 2),))
    assert entries["head.bias"].adaptable == RowSet("all", ((1, 2), (3, 4)))
    assert made.manifest.verification["reference"]["update"] < 1e-9
    x, y = selftest.episode(1, 10, 5, made.manifest.input.shape)
    for engine in available():
        model = regrow.open(made.path, engine=engine)
        session = model.session()
        session.adapt(x, y)
        changed = session.parameters[WEIGHT] != model.bundle.params[WEIGHT]
        inside = model.bundle.moves(entries[WEIGHT])
        assert not changed[2:].any()
        assert not changed[~inside].any()
        assert changed[inside].mean() > 0.5
        heads = session.parameters["head.bias"] != model.bundle.params["head.bias"]
        np.testing.assert_array_equal(heads, [False, True, False, True, False])
        session.save(tmp_path / "one.delta")
        again = model.session(tmp_path / "one.delta")
        np.testing.assert_array_equal(again.parameters[WEIGHT], session.parameters[WEIGHT])


def test_a_delta_that_moves_another_row_is_refused(tmp_path):
    made = exported(tmp_path, [f"{WEIGHT}[0:2]"])
    model = regrow.open(made.path)
    session = model.session()
    x, y = selftest.episode(1, 10, 5, made.manifest.input.shape)
    session.adapt(x, y)
    path = tmp_path / "one.delta"
    session.save(path)
    saved = delta.read(path, model.bundle)
    moved = saved.params[WEIGHT].copy()
    moved[3, 0, 0, 0] += 1
    saved.params[WEIGHT] = moved
    delta.write(path, saved, model.bundle.params)
    with pytest.raises(BundleError, match=r"1 changed values outside the all\[0:2\] positions"):
        model.session(path)


def test_a_delta_of_a_few_rows_is_small(tmp_path):
    sizes = []
    for patterns in (["blocks.*"], ["blocks.*[0]"]):
        made = exported(tmp_path, patterns)
        session = regrow.open(made.path).session()
        session.adapt(*selftest.episode(1, 10, 5, made.manifest.input.shape))
        session.save(tmp_path / "one.delta")
        sizes.append(sum(t.nbytes for t in regrow.container.read(tmp_path / "one.delta").tensors.values()))
    assert sizes[1] < 0.6 * sizes[0]


def test_inspect_shows_them(tmp_path, capsys):
    from regrow.cli import main

    made = exported(tmp_path, [f"{WEIGHT}[0:2,3]"])
    assert main(["inspect", str(made.path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    row = next(p for p in facts["parameters"] if p["name"] == WEIGHT)
    assert row["adaptable"] == "all[0:2,3]"
    assert facts["adaptable"]["values"] == 3 * 4 * 9
    assert main(["inspect", str(made.path)]) == 0
    assert "all[0:2,3]" in capsys.readouterr().out


def test_a_budget_and_rows_are_not_both_given(tmp_path):
    with pytest.raises(UnsupportedError, match=r"beside rows of blocks\.1\.conv\.weight"):
        exported(tmp_path, [f"{WEIGHT}[0:2]"], budget="1MiB", episodes="glyphs:val")
