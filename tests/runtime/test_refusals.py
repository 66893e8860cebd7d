"""Bad input and learning gone wrong: one clear error each, and a session that is exactly as it was."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regrow

Make = Callable[..., regrow.Model]
Looks = Callable[[regrow.Session], tuple[Any, ...]]


def spoiled(x: Any, value: float) -> Any:
    x = x.copy()
    x[3, 2] = value
    return x


BAD_SAMPLES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "nan": (lambda x: spoiled(x, np.nan), "nan in sample 3"),
    "infinity": (lambda x: spoiled(x, -np.inf), "-inf in sample 3"),
    "too large for float32": (lambda x: spoiled(x.astype(np.float64), 1e300), "inf in sample 3"),
    "features missing": (lambda x: x[:, :5], r"shape \(20, 5\), expected \(n, 6\)"),
    "no batch axis": (lambda x: x[0], r"x\[None\]"),
    "an axis too many": (lambda x: x[None], r"shape \(1, 20, 6\)"),
    "whole numbers": (lambda x: x.astype(np.int64), "dtype int64, expected float32 or uint8"),
    "booleans": (lambda x: x > 0, "dtype bool"),
    "complex": (lambda x: x + 1j, "dtype complex64"),
    "words": (lambda x: x.astype(str), "dtype <U"),
    "objects": (lambda x: x.astype(object), "dtype object"),
    "ragged": (lambda x: [[1.0], [1.0, 2.0]], "no array"),
    "nothing": (lambda x: x[:0], "no samples"),
}

BAD_LABELS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "too few": (lambda y: y[:-1], r"shape \(19,\), expected \(20,\)"),
    "an axis too many": (lambda y: y[:, None], "one per sample"),
    "out of range": (lambda y: np.where(y == 4, 7, y), "label 7, expected 0 to 4"),
    "negative": (lambda y: y - 1, "label -1"),
    "floats": (lambda y: y.astype(np.float32), "dtype float32, expected all ints or all strings"),
    "booleans": (lambda y: y > 2, "dtype bool"),
    "mixed": (lambda y: ["a", *y[1:].tolist()], "a mix of strings and numbers"),
    "ragged": (lambda y: [[1], [1, 2]], "no array"),
    "an empty name": (lambda y: ["a", "", *"bb" * 9], "an empty name"),
    "a class without samples": (lambda y: np.where(y == 1, 0, y), "class 1 has no sample"),
    "one class only": (lambda y: y * 0, "1 classes with samples, expected 2 to 5"),
    "too many names": (lambda y: [f"c{i % 6}" for i in range(20)], "6 classes"),
    "nothing": (lambda y: y[:0], r"shape \(0,\)"),
}


@pytest.fixture(params=["fresh", "adapted"])
def session(request: pytest.FixtureRequest, tiny: ModuleType, model: regrow.Model) -> regrow.Session:
    made = model.session()
    if request.param == "adapted":
        made.adapt(*tiny.support())
    return made


@pytest.mark.parametrize("case", BAD_SAMPLES)
def test_bad_samples_change_nothing(
    case: str, tiny: ModuleType, session: regrow.Session, looks: Looks
) -> None:
    change, message = BAD_SAMPLES[case]
    x, y = tiny.support()
    before = looks(session)
    with pytest.raises(regrow.SampleError, match=message) as caught:
        session.adapt(change(x), y)
    assert str(caught.value).startswith("support: ")
    assert "expected" in str(caught.value)
    with pytest.raises(regrow.SampleError, match=message) as caught:
        session.predict(change(x))
    assert str(caught.value).startswith("query: ")
    assert looks(session) == before


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels_change_nothing(case: str, tiny: ModuleType, model: regrow.Model, looks: Looks) -> None:
    change, message = BAD_LABELS[case]
    x, y = tiny.support()
    session = model.session()
    before = looks(session)
    with pytest.raises(regrow.SampleError, match=message) as caught:
        session.adapt(x, change(y))
    assert str(caught.value).startswith("labels: ")
    assert "expected" in str(caught.value)
    assert looks(session) == before


@pytest.mark.parametrize("first", ["names", "numbers"])
def test_names_and_numbers_do_not_mix(
    first: str, tiny: ModuleType, model: regrow.Model, looks: Looks
) -> None:
    x, y = tiny.support()
    words = np.array(list("abcde"))[y]
    session = model.session()
    session.adapt(x, words if first == "names" else y)
    before = looks(session)
    verb = "names" if first == "names" else "numbers"
    with pytest.raises(regrow.SampleError, match=f"this session {verb} its classes"):
        session.adapt(x, y if first == "names" else words)
    assert looks(session) == before


def test_too_many_names_over_several_calls(tiny: ModuleType, model: regrow.Model) -> None:
    x, _ = tiny.support(ways=2, shots=2)
    session = model.session()
    for names in (["a", "b"], ["c", "d"]):
        session.adapt(x, [n for n in names for _ in range(2)])
    with pytest.raises(regrow.SampleError, match=r"6 classes \(a, b, c, d, e, f\), expected at most 5"):
        session.adapt(x, ["e", "e", "f", "f"])
    assert list(session.counts) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "3", 10**9])
def test_bad_steps_change_nothing(
    steps: Any, tiny: ModuleType, session: regrow.Session, looks: Looks
) -> None:
    before = looks(session)
    with pytest.raises(regrow.AdaptError, match="steps is"):
        session.adapt(*tiny.support(), steps=steps)
    assert looks(session) == before


@pytest.mark.parametrize(("lr", "message"), [(1e4, "loss rose from"), (np.inf, "not finite")])
def test_learning_gone_wrong_is_rolled_back(
    lr: float, message: str, tiny: ModuleType, make: Make, looks: Looks
) -> None:
    session = make(lr=lr).session()
    x, y = tiny.support(ways=2)
    before = looks(session)
    with pytest.raises(regrow.AdaptError, match=message) as caught:
        session.adapt(x, np.arange(len(y)) % 2)  # labels that contradict each other cannot be learned
    assert "rolled back" in str(caught.value)
    assert looks(session) == before
    with pytest.raises(regrow.AdaptError, match="no adaptation left"):
        session.undo()


def test_a_stated_rise_is_allowed(tiny: ModuleType, make: Make) -> None:
    x, y = tiny.support()
    session = make(lr=20.0, max_loss_rise=1e6).session()
    session.adapt(x, y)
    report = session.adapt(x, np.roll(y, 7))
    assert session.adaptations == 2
    assert np.isfinite(report.loss)


def test_an_interrupt_leaves_the_session_as_it_was(
    tiny: ModuleType, model: regrow.Model, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = model.session()
    before = looks(session)

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(model.engine, "adapt", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.adapt(*tiny.support())
    assert looks(session) == before


@pytest.mark.parametrize(
    ("opening", "error", "message"),
    [
        ({"threads": 0}, regrow.UnsupportedError, "threads is 0"),
        ({"threads": True}, regrow.UnsupportedError, "threads is True"),
        ({"budget_bytes": -1}, regrow.BudgetError, "budget_bytes is -1"),
        ({"budget_bytes": 1.5}, regrow.BudgetError, "budget_bytes is 1.5"),
        ({"engine": "abacus"}, regrow.UnsupportedError, "engine 'abacus': no such engine"),
    ],
)
def test_bad_options_of_open(
    opening: dict[str, Any], error: type[Exception], message: str, make: Make
) -> None:
    with pytest.raises(error, match=message):
        make(opening=opening)
