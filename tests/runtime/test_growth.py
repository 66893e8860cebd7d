"""One more class on a metric head: what it changes, what it costs, what is refused, and what comes back."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regrow

Looks = Callable[[regrow.Session], tuple[Any, ...]]
Make = Callable[..., regrow.Model]
Run = Callable[..., tuple[int, str, str]]
NAMES = np.array(["oak", "elm", "ash", "fir", "yew"])


@pytest.fixture
def samples(tiny: ModuleType) -> tuple[Any, Any]:
    return tiny.support()


@pytest.fixture
def metric(metric_bundle: ModuleType, tmp_path: Path, engine: str) -> regrow.Model:
    metric_bundle.write(tmp_path / "m.regrow")
    return regrow.open(tmp_path / "m.regrow", engine=engine)


@pytest.fixture
def session(metric: regrow.Model, samples: tuple[Any, Any]) -> regrow.Session:
    """Knows three of five classes, by number."""
    x, y = samples
    made = metric.session()
    made.adapt(x[y < 3], y[y < 3])
    return made


def test_a_fit_is_the_sum_of_features_and_predicts_the_nearest_mean(
    metric: regrow.Model, metric_bundle: ModuleType, samples: tuple[Any, Any]
) -> None:
    x, y = samples
    session = metric.session()
    # Half of each class at a time: later samples add to the earlier ones.
    session.adapt(x[::2], y[::2])
    report = session.adapt(x[1::2], y[1::2])
    h = x.astype(np.float64) * metric_bundle.scale()
    means = np.stack([h[y == c].mean(0) for c in range(5)])
    distances = ((h[:, None] - means) ** 2).sum(2)
    np.testing.assert_allclose(session.predict(x).logits, -distances, rtol=1e-4, atol=1e-4)
    assert (session.predict(x).labels == distances.argmin(1)).all()
    assert (len(report.losses), report.steps) == (1, 1)
    assert report.loss <= report.losses[0]
    assert session.counts == {str(i): 4 for i in range(5)}


def test_a_new_class_leaves_the_others_as_they_are_bit_for_bit(
    session: regrow.Session, samples: tuple[Any, Any]
) -> None:
    x, y = samples
    before = {name: array.copy() for name, array in session.parameters.items()}
    report = session.add_class(3, x[y == 3])
    assert (report.held_back, report.before, report.after, report.lost) == (0, None, None, None)
    assert report.fit.samples == 4
    for name, array in session.parameters.items():
        others = np.arange(5) != 3
        assert array[others].tobytes() == before[name][others].tobytes()
        assert array[3].tobytes() != before[name][3].tobytes()
    assert session.counts == {"0": 4, "1": 4, "2": 4, "3": 4}
    assert (session.predict(x[y == 3]).labels == 3).all()


def test_it_is_the_same_as_if_all_had_been_learned_at_once(
    metric: regrow.Model, session: regrow.Session, samples: tuple[Any, Any]
) -> None:
    x, y = samples
    session.add_class(3, x[y == 3])
    session.add_class(4, x[y == 4])
    together = metric.session()
    together.adapt(x, y)
    np.testing.assert_allclose(session.predict(x).logits, together.predict(x).logits, rtol=1e-5, atol=1e-5)


def test_classes_can_be_taught_one_by_one_from_nothing(
    metric: regrow.Model, samples: tuple[Any, Any]
) -> None:
    x, y = samples
    session = metric.session()
    for index, name in enumerate(NAMES):
        session.add_class(str(name), x[y == index])
        assert set(session.predict(x).labels.tolist()) <= set(NAMES[: index + 1].tolist())
    assert (session.predict(x).labels == NAMES[y]).all()


def test_held_back_samples_say_what_it_costs_and_are_not_learned(
    session: regrow.Session, samples: tuple[Any, Any]
) -> None:
    x, y = samples
    known = y < 3
    # The new class sits right where class 0 is, which must lose queries to it.
    mixed = np.concatenate([x[y == 0] + np.float32(0.01), x[known]])
    labels = np.concatenate([np.full(4, 3), y[known]])
    before = session.parameters["head.counts"].copy()
    report = session.add_class(3, mixed, labels)
    assert (report.held_back, report.before) == (12, 1.0)
    right = session.predict(x[known]).labels == y[known]
    assert report.after == right.mean() < 1
    assert report.lost == pytest.approx(1 - right.mean())
    assert right[y[known] > 0].all()
    assert (session.parameters["head.counts"] - before).tolist() == [0, 0, 0, 4, 0]


def test_one_undo_takes_it_away_again(
    session: regrow.Session, samples: tuple[Any, Any], looks: Looks
) -> None:
    x, y = samples
    seen = looks(session)
    session.add_class(3, x[y == 3])
    session.undo()
    assert looks(session) == seen


def test_a_grown_session_comes_back_from_a_delta_and_grows_on(
    metric: regrow.Model, samples: tuple[Any, Any], looks: Looks, tmp_path: Path
) -> None:
    x, y = samples
    session = metric.session()
    session.adapt(x[y < 3], NAMES[y[y < 3]])
    session.add_class("fir", x[y == 3])
    session.save(tmp_path / "a.delta")
    again = metric.session(tmp_path / "a.delta")
    assert looks(again) == looks(session)
    for one in (session, again):
        one.add_class("yew", x[y == 4])
    assert looks(again) == looks(session)
    assert again.counts == dict.fromkeys(NAMES.tolist(), 4)


def test_a_bundle_with_labels_takes_only_those(
    metric_bundle: ModuleType, samples: tuple[Any, Any], tmp_path: Path
) -> None:
    x, y = samples
    metric_bundle.write(tmp_path / "named.regrow", labels=tuple(NAMES[:4]))
    session = regrow.open(tmp_path / "named.regrow").session()
    session.adapt(x[y == 2], ["ash"] * 4)
    # Numbers mean the bundle's own outputs, in samples and in the name.
    report = session.add_class(0, x[(y == 0) | (y == 2)], y[(y == 0) | (y == 2)])
    assert (report.held_back, report.lost) == (4, 0.0)
    assert session.counts == {"oak": 4, "ash": 4}
    with pytest.raises(regrow.SampleError, match=r"unknown class 'yew'.*oak, elm, ash, fir"):
        session.add_class("yew", x[y == 4])
    with pytest.raises(regrow.SampleError, match="outside 0 to 3"):
        session.add_class(4, x[y == 4])
    session.add_class("elm", x[y == 1])
    assert session.counts == {"oak": 4, "elm": 4, "ash": 4}


REFUSED: dict[str, tuple[Callable[[Any, Any], tuple[Any, ...]], str]] = {
    "a known class": (lambda x, y: (2, x[y == 2]), r"class 2 has 4 samples already.*adapt\(\) adds to it"),
    "a gap in the numbers": (lambda x, y: (4, x[y == 4]), "class 3 has no sample"),
    "a number too large": (lambda x, y: (5, x[y == 4]), "label 5, expected 0 to 4"),
    "a name among numbers": (lambda x, y: ("fir", x[y == 3]), "this session numbers its classes"),
    "no name at all": (lambda x, y: ("", x[y == 3]), "an empty name"),
    "a name that is none": (lambda x, y: (None, x[y == 3]), "the name is None"),
    "a truth value": (lambda x, y: (True, x[y == 3]), "the name is True"),
    "two new classes": (lambda x, y: (3, x, y), "samples of 4, which is neither"),
    "none of the new class": (lambda x, y: (3, x[y < 3], y[y < 3]), "no sample is labelled 3"),
    "labels that do not pair": (lambda x, y: (3, x, y[1:]), r"shape \(19,\), expected \(20,\)"),
    "no samples": (lambda x, y: (3, x[:0]), "no samples"),
    "not a number": (lambda x, y: (3, x[y == 3] * np.float32(np.nan)), "nan in sample 0"),
    "another shape": (lambda x, y: (3, x[y == 3, :5]), r"shape \(4, 5\), expected \(n, 6\)"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_changes_nothing(
    what: str, session: regrow.Session, samples: tuple[Any, Any], looks: Looks
) -> None:
    arguments, message = REFUSED[what]
    before = looks(session)
    with pytest.raises(regrow.SampleError, match=message):
        session.add_class(*arguments(*samples))
    assert looks(session) == before


def test_a_full_head_is_refused_with_a_way_out(metric: regrow.Model, samples: tuple[Any, Any]) -> None:
    session = metric.session()
    session.adapt(*samples)
    with pytest.raises(regrow.SampleError, match=r"all 5 outputs have a class.*--ways"):
        session.add_class(5, samples[0][:2])


def test_features_that_overflow_are_rolled_back(
    session: regrow.Session, samples: tuple[Any, Any], looks: Looks
) -> None:
    before = looks(session)
    with pytest.raises(regrow.AdaptError, match="rolled back"):
        session.add_class(3, np.full((2, 6), 3e38, np.float32))
    assert looks(session) == before


def test_a_rule_that_steps_says_what_to_do_instead(
    tiny: ModuleType, model: regrow.Model, samples: tuple[Any, Any], looks: Looks
) -> None:
    x, y = samples
    session = model.session()
    session.adapt(x[y < 3], y[y < 3])
    before = looks(session)
    with pytest.raises(regrow.UnsupportedError, match=r"rule 'sgd'.*adapt\(\).*--rule prototype"):
        session.add_class(3, x[y == 3])
    assert looks(session) == before


@pytest.mark.parametrize("steps", [0, 2, True])
def test_a_fit_takes_one_step(session: regrow.Session, samples: tuple[Any, Any], steps: int) -> None:
    with pytest.raises(regrow.AdaptError, match="1, as a metric head is fitted at once"):
        session.adapt(*samples, steps=steps)


@pytest.fixture
def here(
    metric: regrow.Model, samples: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with a bundle, a delta that knows three classes by name, and samples."""
    monkeypatch.chdir(tmp_path)
    x, y = samples
    session = metric.session()
    session.adapt(x[y < 3], NAMES[y[y < 3]])
    session.save("three.delta")
    np.save("fir.npy", x[y == 3])
    np.savez("mixed.npz", x=x[y < 4], y=NAMES[y[y < 4]])
    np.savez("numbers.npz", x=x[y < 3], y=y[y < 3])
    return tmp_path


def test_the_command_adds_a_class_to_a_delta(here: Path, run: Run) -> None:
    add = ("adapt", "m.regrow", "fir.npy", "--delta", "three.delta", "--add-class", "fir")
    code, out, err = run(*add, "-o", "four.delta")
    assert (code, err) == (0, "")
    assert "learned 4 samples of class fir, 4 classes in all, in 1 step," in out
    code, out, _ = run("predict", "m.regrow", "mixed.npz", "--delta", "four.delta", "--json")
    assert json.loads(out)["accuracy"] == 1.0


def test_the_command_says_what_it_costs(here: Path, run: Run) -> None:
    add = ("adapt", "m.regrow", "mixed.npz", "--delta", "three.delta", "--add-class", "fir")
    code, out, _ = run(*add, "-o", "four.delta")
    assert code == 0
    assert "12 held-back samples of known classes: accuracy 1.0000 -> 1.0000" in out
    facts = json.loads(run(*add, "-o", "again.delta", "--json")[1])
    expected = {"class": "fir", "held_back": 12, "accuracy_before": 1.0, "accuracy_after": 1.0}
    assert facts["added"] == expected
    assert facts["classes"]["fir"] == 4


def test_a_numbered_session_gets_a_number(here: Path, run: Run) -> None:
    assert run("adapt", "m.regrow", "numbers.npz", "-o", "n.delta")[0] == 0
    add = ("adapt", "m.regrow", "fir.npy", "--delta", "n.delta", "--add-class", "3", "-o", "n4.delta")
    assert json.loads(run(*add, "--json")[1])["classes"] == {str(i): 4 for i in range(4)}
    # Where the others have names, a figure is a name, too.
    add = ("adapt", "m.regrow", "fir.npy", "--delta", "three.delta", "--add-class", "3", "-o", "named.delta")
    assert json.loads(run(*add, "--json")[1])["classes"] == {"oak": 4, "elm": 4, "ash": 4, "3": 4}


def test_the_command_refuses_in_one_line(here: Path, run: Run) -> None:
    add = ("adapt", "m.regrow", "fir.npy", "--delta", "three.delta", "-o", "x.delta", "--add-class")
    for words, said in (((*add, "oak"), "samples already"), ((*add, "fir", "--steps", "2"), "leave one out")):
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1
        assert not Path("x.delta").exists()


def test_inspect_shows_the_head(here: Path, run: Run) -> None:
    out = run("inspect", "m.regrow")[1]
    assert "nearest(), a metric head, fitted without a gradient" in out
    assert "when the loss is not finite" in out
    # An empty head is no pruned one.
    assert "0.0% of all weights are pruned" in out
    assert json.loads(run("inspect", "m.regrow", "--json")[1])["rule"]["kind"] == "metric"
