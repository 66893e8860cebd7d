"""Exports that are measured: accuracy in the manifest, precision and adaptable set chosen on episodes."""

import json
import tempfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import regrow
from regrow import evaluate as evaluation
from regrow.errors import BudgetError, SampleError, UnsupportedError
from regrow.evaluate import evaluate
from regrow_exporter import Episodes, export, pipeline
from tests.exporter.few_shot import FEATURES, WAYS, clouds, example, parting

SIZES = {"n_way": WAYS, "k_shot": 2, "queries": 5, "seed": 4}
SETTINGS = {"adaptable": ["*"], "lr": 0.1, "steps": 5}


def asked(count=40, **changes):
    return Episodes(**({"source": clouds(), "count": count, **SIZES} | changes))


def exported(tmp_path, module=None, name="m.regrow", **settings):
    return export(module or parting(), example(), path=tmp_path / name, **{**SETTINGS, **settings})


def test_the_manifest_states_what_a_device_scores(tmp_path):
    made = exported(tmp_path, episodes=asked())
    stated = made.manifest.provenance["accuracy"]
    model = regrow.open(made.path)
    for what, steps in (("before", 0), ("after", None)):
        found = evaluate(model, clouds(), steps=steps, episodes=40, **SIZES)
        assert stated[what] == found.to_json()
    assert stated["episodes"] == {"source": "Arrays", "episodes": 40, **SIZES}
    assert stated["gain"]["mean"] == pytest.approx(stated["after"]["mean"] - stated["before"]["mean"])
    assert stated["gain"]["mean"] - stated["gain"]["half_width"] > 0.1


def test_without_episodes_the_manifest_says_that_nothing_was_measured(tmp_path):
    assert "not measured" in exported(tmp_path).manifest.provenance["accuracy"]


def test_a_regression_is_measured_by_its_squared_error(tmp_path):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    episodes = Episodes("sine", k_shot=10, queries=10, count=10)
    made = export(module, torch.rand(4, 1), adaptable=["*"], lr=0.01, loss="mse", episodes=episodes,
                  path=tmp_path / "m.regrow")  # fmt: skip
    stated = made.manifest.provenance["accuracy"]
    assert stated["after"]["metric"] == "mse"
    assert stated["gain"]["mean"] == pytest.approx(stated["before"]["mean"] - stated["after"]["mean"])
    with pytest.raises(UnsupportedError, match="which a regression has not"):
        export(module, torch.rand(4, 1), adaptable=["*"], loss="mse", episodes=episodes, precision="auto",
               path=tmp_path / "m.regrow")  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"episodes": asked(n_way=WAYS + 1)}, "at most 3, the model's outputs"),
        ({"episodes": asked(k_shot=10)}, "expected at least 15"),
        ({"episodes": asked(count=0)}, "0 episodes"),
        ({"episodes": Episodes("glyphs:val")}, r"samples of shape \(1, 28, 28\)"),
        ({"episodes": "sine"}, "for regression"),
        ({"episodes": "glyfs:val"}, "did you mean"),
        ({"precision": "auto"}, "give some such as"),
        ({"budget": "64KiB"}, "64KiB.*give some such as"),
        ({"budget": "sixty", "episodes": asked()}, "expected a size such as"),
        ({"precision": "auto", "max_drop": -1.0, "episodes": asked()}, "max_drop"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(tmp_path, monkeypatch, settings, match):
    monkeypatch.setattr(pipeline, "capture", None)
    with pytest.raises((UnsupportedError, SampleError), match=match):
        exported(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_samples_is_a_source(tmp_path):
    source = clouds()
    x = np.concatenate([source.take(c, np.arange(14)) for c in range(12)])
    np.savez(tmp_path / "own.npz", x=x, y=np.repeat(np.arange(12), 14))
    made = exported(tmp_path, episodes=asked(10, source=str(tmp_path / "own.npz")))
    stated = made.manifest.provenance["accuracy"]
    assert stated["episodes"]["source"] == "files:own.npz"
    assert stated["after"]["mean"] > stated["before"]["mean"]


# For `coarse`: what learns sees small features.
COARSE = {"adaptable": ["head.weight"], "lr": 4e4, "precision": "auto"}


def coarse():
    """A network that rounding changes beyond recognition.

    fp16: its first weights lie around its smallest. int8: in every row of the second layer one weight, which
    only a unit that is never on feeds, is hundreds of times as large as the others; a dead one would be cut.
    """
    module = parting()
    with torch.no_grad():
        module.body.weight.mul_(8e-8)
        module.middle.weight.mul_(1e5)
        module.body.bias.zero_()
        module.middle.bias.zero_()
        module.body.weight[0], module.body.bias[0] = 1e-15, -1e-9
        module.middle.weight[:, 0] = 3e7
    return module


def test_auto_takes_the_smallest_precision_that_keeps_the_accuracy(tmp_path):
    made = exported(tmp_path, precision="auto", episodes=asked())
    rows = made.manifest.provenance["choice"]["precision"]["rows"]
    assert [r["precision"] for r in rows] == [
        r["precision"] for r in sorted(rows, key=lambda r: r["weight_bytes"])
    ]
    assert [r["precision"] for r in rows if r["chosen"]] == [rows[0]["precision"]]
    assert {p.values for p in made.manifest.parameters if len(p.shape) > 1} == {rows[0]["precision"]}
    plain = exported(tmp_path, precision=rows[0]["precision"], name="plain.regrow")
    assert made.manifest.selftest == plain.manifest.selftest
    assert made.manifest.provenance["accuracy"]["after"] == rows[0]["after"]


def test_auto_keeps_fp32_where_the_drop_could_be_larger(tmp_path):
    made = exported(tmp_path, coarse(), **COARSE, episodes=asked())
    rows = {r["precision"]: r for r in made.manifest.provenance["choice"]["precision"]["rows"]}
    assert rows["fp32"]["chosen"]
    assert not rows["fp16"]["passes"]
    assert not rows["int8"]["passes"]
    # One episode tells nothing about a drop, so the choice is the careful one.
    single = exported(tmp_path, precision="auto", episodes=asked(1))
    assert {p.values for p in single.manifest.parameters} == {"fp32"}


def test_the_upper_end_of_the_interval_decides(tmp_path):
    rows = exported(tmp_path, coarse(), **COARSE, episodes=asked()).choice["precision"]["rows"]
    drop = next(r["drop"] for r in rows if r["precision"] == "fp16")
    between = 100 * (drop["mean"] + drop["half_width"] / 2)
    for limit, expected in ((between, "fp32"), (between + 100 * drop["half_width"], "fp16")):
        made = exported(tmp_path, coarse(), **COARSE, max_drop=limit, episodes=asked())
        assert [r["precision"] for r in made.choice["precision"]["rows"] if r["chosen"]] == [expected]


def test_a_budget_chooses_the_set_that_gains_most_per_byte_of_those_that_fit(tmp_path):
    every = exported(tmp_path, adaptable=None, budget="1MB", episodes=asked()).choice["adaptable"]
    gains = [r["gain"]["mean"] / r["peak_bytes"] for r in every["rows"]]
    assert gains == sorted(gains, reverse=True)
    assert [r["chosen"] for r in every["rows"]] == [True] + [False] * (len(gains) - 1)
    names = [r["adaptable"] for r in every["rows"]]
    assert sorted(names) == ["*", "@head", "@head @norm+bias", "@last:2", "@last:2 @norm+bias", "@norm+bias"]
    # Just too little for the largest: the best of those that need less is taken.
    tight = max(r["peak_bytes"] for r in every["rows"]) - 1
    made = exported(tmp_path, adaptable=None, budget=f"{tight}", episodes=asked())
    sets = made.choice["adaptable"]
    assert next(r for r in sets["rows"] if r["adaptable"] == "*")["over"] == [str(tight)]
    model = regrow.open(made.path)
    pick = next(r for r in sets["rows"] if r["chosen"])
    assert pick["adaptable"] == next(r["adaptable"] for r in every["rows"] if r["peak_bytes"] <= tight)
    assert model.peak_bytes(WAYS * 2) == pick["peak_bytes"] <= tight
    assert made.manifest.provenance["accuracy"]["after"] == pick["after"]
    session = model.session()
    x, y = clouds().take(0, np.arange(4)), np.arange(4) % 2
    session.adapt(x, y)
    session.save(tmp_path / "s.delta")
    assert abs((tmp_path / "s.delta").stat().st_size - pick["delta_bytes"]) < 200


def test_ones_own_set_is_a_candidate_and_equal_sets_are_one(tmp_path):
    made = exported(tmp_path, adaptable=["body.*"], budget="1MB", episodes=asked())
    names = [r["adaptable"] for r in made.choice["adaptable"]["rows"]]
    assert "body.*" in names
    again = exported(tmp_path, adaptable=["head.*"], budget="delta:1MB", episodes=asked())
    names = [r["adaptable"] for r in again.choice["adaptable"]["rows"]]
    assert "head.*" in names
    assert "@head" not in names
    assert again.choice["adaptable"]["per"] == "delta_bytes"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"budget": ["1MB", "delta:64"]}, "none of 6 adaptable sets fits 1MB, delta:64 at 6 support samples"),
        ({"budget": "1us"}, "the nearest is"),
        ({"budget": "1MB", "steps": 1, "lr": 1e-9}, "gains accuracy"),
    ],
)
def test_where_no_set_will_do_the_refusal_brings_the_table(tmp_path, settings, match):
    with pytest.raises(BudgetError, match=match) as caught:
        exported(tmp_path, episodes=asked(), **{"adaptable": None, **settings})
    (table,) = caught.value.__notes__
    assert table.count("@head") == 2
    assert list(tmp_path.iterdir()) == []


def test_only_a_time_budget_puts_times_into_the_manifest(tmp_path):
    by_bytes = [
        exported(tmp_path, adaptable=None, budget="1MB", episodes=asked(), name="m.regrow") for _ in "ab"
    ]
    assert by_bytes[0].digest == by_bytes[1].digest
    assert "ms" in by_bytes[0].choice["adaptable"]["rows"][0]
    by_time = exported(tmp_path, adaptable=None, budget="10s", episodes=asked())
    rows = by_time.manifest.provenance["choice"]["adaptable"]["rows"]
    assert all(r["ms"]["high"] >= r["ms"]["median"] > 0 for r in rows)


def test_a_set_and_a_precision_are_chosen_one_after_the_other(tmp_path):
    made = exported(tmp_path, adaptable=None, budget="1MB", precision="auto", episodes=asked())
    assert list(made.manifest.provenance["choice"]) == ["adaptable", "precision"]
    sets, widths = (made.choice[k]["rows"] for k in ("adaptable", "precision"))
    best = next(r for r in sets if r["chosen"])
    assert next(r for r in widths if r["precision"] == "fp32")["after"] == best["after"]


def test_a_layer_that_the_loss_does_not_reach_leaves_only_its_sets_out(tmp_path):
    module = parting()
    module.unused = torch.nn.Linear(2, 2)
    module.head, module.body = module.head, module.body
    made = exported(tmp_path, module, adaptable=None, budget="1MB", episodes=asked())
    left = made.choice["adaptable"]["left_out"]
    assert "*" in left
    assert "unused.weight" in left["*"]
    assert "@head" in [r["adaptable"] for r in made.choice["adaptable"]["rows"]]


def test_an_interrupt_leaves_no_drafts(tmp_path, monkeypatch):
    drafts, out = tmp_path / "drafts", tmp_path / "out"
    drafts.mkdir()
    out.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(drafts))
    seen = []

    def interrupted(*args, **kwargs):
        seen.extend(p.suffix for p in drafts.rglob("*") if p.is_file())
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "sample", interrupted)
    for settings in ({}, {"precision": "auto"}, {"budget": "1MB"}):
        with pytest.raises(KeyboardInterrupt):
            exported(out, episodes=asked(), **settings)
    assert ".regrow" in seen
    assert list(drafts.iterdir()) == list(out.iterdir()) == []


def test_the_record_is_plain_json(tmp_path):
    made = exported(tmp_path, adaptable=None, budget="1MB", precision="auto", episodes=asked(1 + FEATURES))
    assert json.loads(json.dumps(made.manifest.provenance)) == regrow.open(made.path).manifest.provenance
