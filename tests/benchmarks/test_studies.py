"""Personalisation studies: users stay apart, choices come first, bundles answer, pages follow records."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from benchmarks.studies import choose, measure, nets, page, record
from benchmarks.studies import run as running
from benchmarks.studies.episodes import drawn, users
from benchmarks.studies.methods import METHODS, RAW
from benchmarks.studies.nets import OURS, PLAIN, SCRATCH, Place
from benchmarks.studies.study import Candidate, Study, plain_data
from regrow import checkpoint
from regrow.episodes import Episode
from regrow_exporter import export_checkpoint
from regrow_trainer import training
from regrow_trainer.recipe import Recipe, load_recipe

USERS, WAYS, EACH, SIZE = 3, 3, 12, 6
RECIPE = """
name = "tiny"
[data]
train = "users:{folder}/train.npz"
validation = "users:{folder}/val.npz"
test = "users:{folder}/test.npz"
n_way = 3
k_shot = 2
queries = 3
[backbone]
name = "mlp"
args = {{ hidden = [8], norm = true }}
[rule]
name = "step_rates"
args = {{ lr = 0.3, steps = 3 }}
[learner]
steps = 3
[train]
iterations = 8
tasks = 4
[validation]
every = 8
episodes = 6
queries = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users whose classes lie in other places than those of the others."""
    made = tmp_path_factory.mktemp("studies")
    for number, part in enumerate(("train", "val", "test")):
        generator = np.random.default_rng(number)
        user, kind = (a.ravel() for a in np.indices((USERS, WAYS, EACH))[:2])
        centres = generator.normal(size=(USERS, WAYS, SIZE)) * 2
        x = (centres[user, kind] + generator.normal(size=(len(user), SIZE)) * 0.3).astype(np.float32)
        np.savez(made / f"{part}.npz", x=x, y=kind, user=np.array([f"{part} {u}" for u in user]))
    (made / "tiny.toml").write_text(RECIPE.format(folder=made))
    return made


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    return Study(
        name="tiny", title="Tiny", question="Does it?", unit="person", split="three each", query="others",
        protocol="None.", recipe=str(folder / "tiny"), features=lambda x: x.reshape(len(x), -1),
        features_are="values", queries=3,
        shots=(1, 2), main_shots=2, draws=2, plain=("train.iterations=8",), retrain=4, steps=(1, 3),
        tuned=(Candidate("sgd", 0.1), Candidate("sgd", 1e-6, "@head")), scratch=(Candidate("adam", 0.01),),
        steps_tuned=(1, 4), validation_draws=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def recipe(study: Study) -> Recipe:
    return load_recipe(str(study.recipe_path))


@pytest.fixture(scope="module")
def place(study: Study, recipe: Recipe, folder: Path) -> Place:
    """The networks of the study; here one training stands for those that differ in their settings alone."""
    made = Place(folder / "runs")
    plain = load_recipe(
        str(study.recipe_path), ["train.strategy=plain", 'rule={ name = "sgd" }', "learner.steps=1"]
    )
    for net in nets.NETS:
        training.train(plain if net in (PLAIN, SCRATCH) else recipe, made.folder / net, workers=1)
    return made


def test_episodes_are_of_one_user_and_the_same_for_everyone(recipe: Recipe) -> None:
    test = users(recipe.data.model_dump(), "test")
    assert list(test) == ["test 0", "test 1", "test 2"]
    first, again = (drawn(test["test 1"], 2, 3, 4, 7) for _ in range(2))
    assert all(np.array_equal(a.query_x, b.query_x) for a, b in zip(first, again, strict=True))
    own = {tuple(x) for x in test["test 1"].group(0).take(0, np.arange(EACH))}
    for episode in first:
        rows = {tuple(x) for x in episode.support_x[episode.support_y == 0]}
        asked = {tuple(x) for x in episode.query_x[episode.query_y == 0]}
        assert rows | asked <= own
        assert not rows & asked


def test_a_source_without_users_or_with_other_ways_is_refused(recipe: Recipe) -> None:
    data = recipe.data.model_dump()
    with pytest.raises(SystemExit, match="has no users"):
        users({**data, "test": "glyphs:test"}, "test")
    with pytest.raises(SystemExit, match="3 classes, n_way is 2"):
        users({**data, "n_way": 2}, "test")


def test_of_fresh_classes_an_episode_has_some_in_any_order(recipe: Recipe) -> None:
    user = users({**recipe.data.model_dump(), "n_way": 2}, "test", fresh=True)["test 0"]
    episodes = drawn(user, 1, 3, 20, 7, 2)
    assert {len(e.classes) for e in episodes} == {2}
    assert len({tuple(e.classes) for e in episodes}) > 3  # of three classes: also in another order


def test_the_choice_is_the_best_of_what_was_tried(study: Study, place: Place) -> None:
    made = choose.chosen(study, place)
    assert len(made["validation"][PLAIN]) == len(study.tuned) * len(study.steps_tuned)
    assert {row["steps"] for row in made["validation"][OURS]} == set(study.steps)
    for net, rows in made["validation"].items():
        assert made["chosen"][net]["accuracy"] == max(row["accuracy"] for row in rows)
    # A rate of next to nothing leaves the network as it is, so it is not what is chosen here.
    assert made["chosen"][PLAIN]["candidate"]["lr"] == 0.1
    choose.same_networks(made, place, Path("tiny.json"))
    with pytest.raises(SystemExit, match="plain differ from those"):
        choose.same_networks({**made, "networks": {**made["networks"], PLAIN: ""}}, place, Path("tiny.json"))


def test_another_rule_leaves_the_weights(place: Place) -> None:
    saved = checkpoint.read(place.checkpoint(PLAIN))
    made = choose.with_rule(saved, Candidate("adam", 0.02, "@head"))
    assert made.rule["path"].endswith(":adam")
    assert made.adaptable == ("@head",)
    assert all(np.array_equal(made.params[n], saved.params[n]) for n in saved.params)


@pytest.fixture(scope="module")
def scores(study: Study, recipe: Recipe, place: Place) -> dict[str, Any]:
    """Every method's: two real bundles, which stand for the others of their kind."""
    test = users(recipe.data.model_dump(), "test")
    made: dict[str, Any] = {RAW: measure.raw_means(study, test, users(recipe.data.model_dump(), "train"))}
    for rule in (None, "prototype"):
        bundle = place.bundle(rule or "own")
        export_checkpoint(place.checkpoint(OURS), bundle, rule=rule)
        found = measure.measured(study, test, bundle, metric=rule is not None, label="tiny")
        made |= {name: found for name, method in METHODS.items() if method.metric == (rule is not None)}
    return made


def test_a_bundle_is_scored_per_user_by_the_runtime(
    study: Study, recipe: Recipe, place: Place, scores: dict[str, Any]
) -> None:
    import regrow

    model = regrow.open(place.bundle("own"))
    test = users(recipe.data.model_dump(), "test")

    def right(episode: Episode) -> float:
        session = model.session()
        session.adapt(episode.support_x, episode.support_y)
        return float(np.mean(session.predict(episode.query_x).logits.argmax(1) == episode.query_y))

    for name, user in scores["ours"]["users"].items():
        episodes = drawn(test[name], 2, study.queries, study.draws, measure.TEST_SEED)
        assert user["after"]["2"] == np.mean([right(e) for e in episodes])
        assert user["after"]["2"] > user["before"]  # classes of this data lie elsewhere for everyone
        assert {"others", "others_before"} <= set(user)
    assert measure.agreement(study, test, place.bundle("own"), ["native", "native"]) == 1.0
    means = scores["means-ours"]["users"]["test 0"]
    assert means["before"] is None
    assert "others" not in means


def test_class_means_need_no_network(scores: dict[str, Any]) -> None:
    # Classes are ten times as far apart as they are wide.
    assert all(user["after"]["2"] == 1.0 for user in scores[RAW]["users"].values())
    # Those of other users say nothing about these.
    assert np.mean([user["before"] for user in scores[RAW]["users"].values()]) < 0.8


def test_differences_are_paired_over_users(study: Study, scores: dict[str, Any]) -> None:
    made: record.Record = {"study": plain_data(study), "users": [*scores["ours"]["users"]], "methods": scores}
    assert record.ahead(made, "pruned", 2).mean == 0.0  # the same bundle here
    gap = record.ahead(made, RAW, 1)
    ours, raw = (np.mean([u["after"]["1"] for u in scores[m]["users"].values()]) for m in ("ours", RAW))
    assert gap.mean == pytest.approx(ours - raw)
    assert gap.episodes == USERS
    each = [
        a["after"]["1"] - scores[RAW]["users"][u]["after"]["1"] for u, a in scores["ours"]["users"].items()
    ]
    assert gap.high - gap.mean >= 4.30 * np.std(each, ddof=1) / USERS**0.5  # Student's t of three
    for name, method in METHODS.items():
        assert (record.forgotten(made, name) is None) == method.metric


def test_the_page_follows_the_record(study: Study, scores: dict[str, Any], tmp_path: Path) -> None:
    engine = {"adapt_ms": 1.5, "predict_1_ms": 0.1, "peak_bytes": 3.0e7}
    refused = {"onnx": "bench: onnx: outputs differ; not timed"}
    costs = {
        "support": 6, "planned_bytes": 4096, "load": 1.0, "engines": {"native": engine}, "refused": refused
    }  # fmt: skip
    choice = {"candidate": None, "steps": 3, "accuracy": 0.9}
    made = {
        "study": plain_data(study), "seed": 0,
        "users": [*scores["ours"]["users"]], "ways": WAYS, "protocol": "c0ffee",
        "chosen": {OURS: choice, PLAIN: {**choice, "candidate": vars(Candidate("sgd", 0.1))}},
        "methods": scores,
        "device": dict.fromkeys(METHODS, costs), "engines_agree": 1.0, "seconds": {"base": 60.0},
        "machine": {"cpu": "none", "cores": 1, "load": 0, "commit": "c0ffee", "date": "2026-01-01T00"},
    }  # fmt: skip
    text = page.page({"tiny": made})
    value = f"{100 * page.mean_after(made, 'ours', 2):.1f}"
    assert f"| meta-trained | {100 * page.mean_before(made, 'ours'):.1f} | " in text  # type: ignore[operator]
    assert value in text
    assert "sgd at 0.1 on `*`, 3 steps (90.0 %)" in text
    assert "| not timed |" in text
    assert "Not timed: meta-trained: onnx: outputs differ. " in text
    fresh = {**made, "study": {**plain_data(study), "fresh": True}}
    assert f", none of which the network had met, a new person comes to {value}%" in page.page(
        {"tiny": fresh}
    )
    drawing = page.learners(made)
    assert drawing.count("<circle") == sum(USERS * (1 if m in METHODS and METHODS[m].metric else 2)
                                           for m in page.LEARNERS)  # fmt: skip
    results = tmp_path / "results"
    results.mkdir()
    assert page.write(results, tmp_path, check=True) == 1
    assert page.write(results, tmp_path) == 0
    assert page.write(results, tmp_path, check=True) == 0


@pytest.mark.slow
def test_a_study_goes_from_data_to_record(study: Study, tmp_path: Path) -> None:
    own = replace(study, name="tiny-run")
    made = running.run(own, tmp_path, quick=True)
    assert set(made["methods"]) == {*METHODS, RAW}
    assert made["users"] == ["val 0", "val 1", "val 2"]  # a quick pass sees no test user
    assert made["protocol"] is None
    assert made["networks"]["pruned"]["kept"] < made["networks"][OURS]["kept"]
    assert made["networks"]["narrow"]["weights"] < made["networks"][OURS]["weights"]
    assert running.run(own, tmp_path, quick=True)["methods"] == made["methods"]  # nothing is done twice


@pytest.mark.slow
def test_a_study_can_ask_others_of_bundles_as_they_were_shipped(
    study: Study, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = replace(study, name="tiny-shipped")
    monkeypatch.setattr(running, "load", lambda name: {"tiny-shipped": shipped}[name])
    asked = {"validation": {"validation": f"users:{folder}/train.npz", "args": {"only": ["train 1"]}}}
    other = replace(study, name="tiny-other", of="tiny-shipped", fresh=True, asked=asked)
    made = running.run(other, tmp_path, quick=True)
    assert made["users"] == ["train 1"]
    assert {user["before"] for user in made["methods"][RAW]["users"].values()} == {None}
    assert not (tmp_path / "tiny-other-quick" / OURS).exists()  # nothing was trained for it
    assert len([*(tmp_path / "tiny-shipped-quick").glob("*.regrow")]) == len(METHODS)
